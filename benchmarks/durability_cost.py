"""What durability costs: single adds, catching up, bulk adds, and the memory of two processes on one index.

    python -m benchmarks.durability_cost --pictures ../shared/data/grocery/train --model BUNDLE

Prints the milliseconds of an add in a running engine beside the bare encode and a bare synced SQLite commit, in turn;
what catching up costs a search when nothing changed; pictures a second of a bulk add beside a bare loop of decoding,
encoding and drawing on the same cores; and the memory that two processes take over one index of 200,000 x 512.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine, print_table
from benchmarks.vector_index import draw_clustered, make_vector_index, put_rows, write_sized_bundle
from index.additions import IndexEditor
from index.bundle import Bundle, read_bundle
from index.catalog_writer import CatalogWriter
from index.creation import create_index
from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.images import decode, read_bytes
from index.layout import Layout
from index.preprocess import preprocess, reduce_to
from index.searcher import Searcher
from index.snapshot import seal_snapshot
from index.sources import SourcePicture, read_source
from index.thumbnails import draw_thumbnail
from service.engine import Engine
from service.settings import Settings

SINGLE = 200  # adds
LOOKS = 5000  # catchings up
BULK = 600  # pictures
ROUNDS = 3
ROWS, SIZE = 200_000, 512
Seconds = list[float]


def percentiles(seconds: Seconds) -> tuple[str, str]:
    """p50 and p99 in milliseconds."""
    low, high = np.percentile(np.array(seconds) * 1000, [50, 99])
    return f"{low:.3f}", f"{high:.3f}"


def encode_bare(encoder: Encoder, data: bytes) -> None:
    """Decode, encode and draw small: what any index of pictures has to do."""
    rule = encoder.bundle.manifest.preprocessing
    image = decode(data, encoder.limits, reduce_to=reduce_to(rule))
    encoder.encode(preprocess(image, rule))
    draw_thumbnail(image)


def time_single(bundle: Bundle, pictures: list[SourcePicture], folder: Path) -> dict[str, Seconds]:
    """An add in a running engine, the bare encode, and a bare synced commit, in turn."""
    create_index(Layout(folder / "single"), bundle)
    encoder = Encoder(bundle)
    database = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (x);")
    found: dict[str, Seconds] = {"add": [], "encode": [], "commit": []}

    async def add_all(engine: Engine) -> None:
        for picture in pictures[:SINGLE]:
            data = picture.path.read_bytes()
            started = time.perf_counter()
            await engine.write(lambda editor, one=picture, body=data: editor.add_bytes(one, body))  # type: ignore[misc]
            added = time.perf_counter()
            encode_bare(encoder, data)
            encoded = time.perf_counter()
            database.execute("INSERT INTO t VALUES (?)", (picture.key,))
            committed = time.perf_counter()
            for name, took in zip(found, (added - started, encoded - added, committed - encoded), strict=True):
                found[name].append(took)

    with Engine(Settings(folder / "single")) as engine:
        asyncio.run(add_all(engine))
    database.close()
    return found


def time_catching_up(folder: Path) -> Seconds:
    """What a search does before anything else, when nothing has changed."""
    seconds = []
    with Searcher(folder / "single") as searcher:
        for _ in range(LOOKS):
            started = time.perf_counter()
            _ = searcher.generation
            seconds.append(time.perf_counter() - started)
    return seconds


def time_bulk(bundle: Bundle, pictures: list[SourcePicture], folder: Path) -> tuple[Seconds, Seconds]:
    """Seconds of a bulk add, and of the bare loop over the same pictures on the same cores, in turn."""
    ours, bare = [], []
    pool = EncoderPool(bundle)
    for number in range(ROUNDS):
        layout = Layout(folder / f"bulk-{number}")
        create_index(layout, bundle)
        started = time.perf_counter()
        with CatalogWriter(layout.catalog) as catalog:
            IndexEditor(layout, catalog, encoders=lambda: pool).add(pictures[:BULK])
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        for _ in pool.map(
            lambda encoder, one: encode_bare(encoder, read_bytes(one.path, encoder.limits)), pictures[:BULK]
        ):
            pass
        bare.append(time.perf_counter() - started)
    return ours, bare


SERVE = """
import sys, numpy as np
from pathlib import Path
from index.searcher import Searcher
with Searcher(Path(sys.argv[1])) as searcher:
    model = searcher.generation.model_id
    queries = np.random.default_rng(int(sys.argv[2])).normal(size=(200, int(sys.argv[3]))).astype("f4")
    for query in queries / np.linalg.norm(queries, axis=1, keepdims=True):
        searcher.search(query, 10, model=model)
    print("ready", flush=True)
    sys.stdin.read()
"""


def measure_memory(folder: Path) -> tuple[list[dict[str, float]], float]:
    """MiB by kind of two processes that searched one index of 200,000 x 512, and the snapshot's size."""
    bundle = write_sized_bundle(folder / "sized", SIZE)
    layout = make_vector_index(folder / "large", bundle, "flat")
    put_rows(layout, bundle, draw_clustered(ROWS, SIZE))
    with CatalogWriter(layout.catalog) as catalog:
        snapshot = seal_snapshot(layout, catalog)
        assert snapshot is not None
        path = layout.generation(catalog.active_generation().name) / snapshot.file
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SERVE, str(layout.folder), str(seed), str(SIZE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seed in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        return [read_memory(process.pid) for process in processes], path.stat().st_size / 2**20
    finally:
        for process in processes:
            process.communicate(b"")


def read_memory(process: int) -> dict[str, float]:
    """MiB resident, proportional and private of a process."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
    kib = {name: int(value) for name, value in re.findall(r"(\w+):\s+(\d+) kB", text)}
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"resident": kib["Rss"] / 1024, "proportional": kib["Pss"] / 1024, "private": private / 1024}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    arguments = parser.parse_args()
    print(describe_machine("faiss-cpu", "onnxruntime"), flush=True)
    bundle = read_bundle(arguments.model)
    pictures = list(read_source(arguments.pictures).pictures)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        single = time_single(bundle, pictures, folder)
        ours, bare = time_bulk(bundle, pictures, folder)
        names = ("an add in the service", "the bare decode, encode and thumbnail", "a bare synced SQLite commit")
        rows: list[tuple[object, ...]] = [
            (name, *percentiles(values)) for name, values in zip(names, single.values(), strict=True)
        ]
        rows.append(("catching up, nothing changed", *percentiles(time_catching_up(folder))))
        print_table(("one at a time", "p50, ms", "p99, ms"), rows)
        ratio = statistics.median(one / other for one, other in zip(bare, ours, strict=True))
        print(f"\nBulk add: {BULK / statistics.median(ours):.0f} pictures/s, the bare loop", end=" ")
        print(f"{BULK / statistics.median(bare):.0f}/s; ratio {ratio:.2f} (median of {ROUNDS} pairs)\n", flush=True)
        memory, snapshot = measure_memory(folder)
    kinds: list[tuple[object, ...]] = [
        (f"process {place}", *(f"{one[kind]:.0f}" for kind in one)) for place, one in enumerate(memory, start=1)
    ]
    print_table(("MiB", "resident", "proportional", "private"), kinds)
    print(f"\nThe snapshot, {ROWS:,} x {SIZE}: {snapshot:.0f} MiB, mapped by both.")


if __name__ == "__main__":
    main()
