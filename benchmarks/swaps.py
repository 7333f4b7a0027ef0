"""Swaps between two prebuilt generations, writes and a compaction, all under load: nothing fails, nothing is lost.

    python -m benchmarks.swaps --root ../shared/data/grocery --cache DIR [--items 100000] [--seconds 60] [--swaps 20]

Four clients search all the while; one writes an item, searches with its picture and must find it, and goes on. Another
process swaps, as `crossmatch index rollback` does, and a third compacts once, as `crossmatch index compact` does. A
failed request is any answer but a 200, or a 201 to a write.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.load import read_pictures
from benchmarks.machine import describe_machine, print_table
from benchmarks.processes import Server, serving
from benchmarks.served_index import make_model, make_served_index
from index.bundle import Bundle, BundleDescription, write_bundle
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.creation import make_generation_folder, name_generation
from index.generations import EncodingPlan, activate, roll_back
from index.layout import Layout
from index.model_export import compute_golden
from index.vectors import VectorMap
from index.writer import IndexWriter

_CLIENTS = 4
_AROUND = (0.2, 1.0)  # seconds before and after an event that count as across it
_BLOCK = 8192


@dataclass
class Writes:
    """What came of them."""

    keys: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)


def make_other_model(cache: Path) -> Bundle:
    """The same network, bicubic: another model by its id, with vectors close to the first one's."""
    first = make_model(cache)
    folder = cache / "model-bicubic"
    rule = first.manifest.preprocessing.model_copy(update={"interpolation": "bicubic"})
    with tempfile.TemporaryDirectory() as name:
        shutil.copy(first.model_path, Path(name) / first.model_path.name)
        golden = compute_golden(first.model_path, rule)
        description = BundleDescription(
            backbone=first.manifest.backbone,
            weights=first.manifest.weights,
            embedding_size=first.manifest.embedding_size,
            preprocessing=rule,
            created_with=first.manifest.created_with,
        )
        return write_bundle(folder, Path(name), golden, description)


def make_two_generations(cache: Path, root: Path, items: int, recipe: str) -> Layout:
    """A copy of a served index, with a second generation of the same rows, each once active."""
    served = make_served_index(cache, root, items, recipe.replace(",", "-"), recipe)
    layout = Layout(cache / f"swapped-{items}.index")
    shutil.rmtree(layout.folder, ignore_errors=True)
    shutil.copytree(served.folder, layout.folder)
    bundle = make_other_model(cache)
    with CatalogWriter(layout.catalog) as catalog:
        active = catalog.active_generation()
        name = name_generation(catalog.count_generations_ever() + 1, bundle.manifest.model_id)
        make_generation_folder(layout, name, bundle)
        with catalog.writing():
            other = catalog.insert_generation(name, bundle.manifest.model_id, active.embedding_size, active.recipe)
        ids = catalog.vector_ids(active)
        rows = VectorMap(layout.vectors(active.name), active.embedding_size)
        with IndexWriter(layout, catalog) as writer:
            for start in range(0, len(ids), _BLOCK):
                some = ids[start : start + _BLOCK]
                writer.put_rows(other, some.tolist(), rows.read(some))
        activate(layout, catalog, other, EncodingPlan())
    return layout


def draw_crops(pictures: list[bytes]) -> Iterator[bytes]:
    """Pictures that nobody has seen: random halves of Grocery's."""
    random = np.random.default_rng(0)
    while True:
        with Image.open(io.BytesIO(pictures[int(random.integers(len(pictures)))])) as image:
            width, height = image.size
            left, top = (int(random.integers(0, side // 2 + 1)) for side in (width, height))
            buffer = io.BytesIO()
            image.crop((left, top, left + width // 2, top + height // 2)).save(buffer, "JPEG", quality=95)
            yield buffer.getvalue()


def write_and_find(url: str, pictures: list[bytes], end: float, writes: Writes) -> None:
    """Write an item, search with its picture, and so on."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for number, picture in enumerate(draw_crops(pictures)):
            if time.time() > end:
                return
            key = f"written-{number}"
            written = client.post("/v1/items", data={"key": key}, files={"image": ("a.jpg", picture)})
            if written.status_code != 201:
                writes.failed.append(f"write: {written.status_code} {written.text[:200]}")
                continue
            writes.keys.append(key)
            found = client.post("/v1/search", params={"k": 3}, files={"image": ("a.jpg", picture)})
            if found.status_code != 200:
                writes.failed.append(f"search: {found.status_code} {found.text[:200]}")
            elif key not in [one["key"] for one in found.json()["results"]]:
                writes.not_found.append(key)


def swap(layout: Layout, swaps: int, seconds: float) -> None:
    """Evenly over the time; prints when each was done. In a process of its own, see `main`."""
    started = time.time()
    with CatalogWriter(layout.catalog) as catalog:
        for number in range(swaps):
            time.sleep(max(0.0, started + (number + 0.5) * seconds / swaps - time.time()))
            roll_back(layout, catalog, None, EncodingPlan(1))
            print("swap", time.time(), flush=True)


def compact(layout: Layout, seconds: float) -> None:
    """Once, after a quarter of the time; prints when it was done. In a process of its own, see `main`."""
    time.sleep(seconds / 4)
    with CatalogWriter(layout.catalog) as catalog:
        compact_index(layout, catalog)
    print("seal", time.time(), flush=True)


def measure(layout: Layout, options: argparse.Namespace, server: Server) -> None:
    """Everything at once, then the figures."""
    pictures = read_pictures(options.root, 100, "train")
    timeline = options.cache / "swaps-timeline.npy"
    load = [sys.executable, "-m", "benchmarks.load", "--url", server.url, "--root", str(options.root)]
    load += ["--connections", str(_CLIENTS), "--seconds", str(options.seconds), "--timeline", str(timeline)]
    other = [sys.executable, "-m", "benchmarks.swaps", *sys.argv[1:], "--folder", str(layout.folder), "--role"]
    writes = Writes()
    writer = threading.Thread(target=write_and_find, args=(server.url, pictures, time.time() + options.seconds, writes))
    writer.start()
    with (
        subprocess.Popen(load, stdout=subprocess.PIPE, text=True) as loading,
        subprocess.Popen([*other, "swap"], stdout=subprocess.PIPE, text=True) as swapping,
        subprocess.Popen([*other, "compact"], stdout=subprocess.PIPE, text=True) as compacting,
    ):
        outputs = [process.communicate()[0] for process in (loading, swapping, compacting)]
    report, events = outputs[0], outputs[1] + outputs[2]
    writer.join()
    print(f"\nSearches: {report.strip()}\n")
    timed = [(kind, float(at)) for kind, at in map(str.split, events.splitlines())]
    _print_latencies(np.load(timeline), timed)
    with Catalog(layout.catalog) as catalog:
        lost = [key for key in writes.keys if catalog.find_item(key) is None]
    print(f"\nWrites: {len(writes.keys)} acknowledged, {len(writes.failed)} failed requests, ")
    print(f"{len(lost)} lost, {len(writes.not_found)} not found by the next search")
    for line in writes.failed[:5]:
        print(line)
    print(f"Resident after it: {server.memory():.0f} MiB")


def _print_latencies(
    timeline: np.ndarray[tuple[int, int], np.dtype[np.float64]], events: list[tuple[str, float]]
) -> None:
    rows: list[tuple[object, ...]] = []
    finished, taken = timeline[:, 0], timeline[:, 1] * 1000
    for kind in ("swap", "seal"):
        across = np.zeros(len(finished), dtype=bool)
        for name, at in events:
            if name == kind:
                across |= (finished > at - _AROUND[0]) & (finished - taken / 1000 < at + _AROUND[1])
        count = sum(name == kind for name, _ in events)
        if across.any():
            p50, p99, worst = np.percentile(taken[across], [50, 99, 100])
            rows.append(
                (
                    f"across {count} {kind}{'s' if count > 1 else ''}",
                    int(across.sum()),
                    f"{p50:.0f}",
                    f"{p99:.0f}",
                    f"{worst:.0f}",
                )
            )
    p50, p99, worst = np.percentile(taken, [50, 99, 100])
    rows.append(("all", len(taken), f"{p50:.0f}", f"{p99:.0f}", f"{worst:.0f}"))
    print_table(("searches", "answers", "p50, ms", "p99, ms", "longest, ms"), rows)


def main() -> None:
    """Measure and print; `--swap`: be the process that swaps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--recipe", default="IVF256,SQ8", help="an HNSW graph takes longer to seal than a minute")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "swap":
        swap(Layout(options.folder), options.swaps, options.seconds)
        return
    if options.role == "compact":
        compact(Layout(options.folder), options.seconds)
        return
    print(describe_machine("onnxruntime", "faiss-cpu", "uvicorn"))
    layout = make_two_generations(options.cache, options.root, options.items, options.recipe)
    with serving("crossmatch", ["serve", "--index", layout.folder], "/readyz") as server:
        measure(layout, options, server)


if __name__ == "__main__":
    main()
