"""How soon a new process serves a large index right after its writer was killed, with much of it unsealed or little.

What may change here: the sizes. The vectors are drawn: what is timed is opening, catching up and searching.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from index.bundle import Bundle, write_bundle
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.creation import create_index
from index.encoding import hash_content
from index.layout import Layout
from index.snapshot import seal_snapshot
from index.types import Vectors
from index.writer import EncodedPicture, IndexWriter, Put, Remove
from tests.faults.processes import Board, compute_apart, fork, kill
from tests.tiny_model import RULE, SIZE, build_graph, describe_tiny, encode_golden

RESTARTS = 10
LIMIT = 4.0  # seconds
_DIMENSIONS = 128
_BATCH = 5_000  # items a transaction while the index is filled
_ROOT = Path(__file__).parents[2]


@dataclass
class RestartReport:
    """Of each restart: seconds from the process's start to its answer, and the pictures that were not sealed."""

    seconds: list[float] = field(default_factory=list)
    unsealed: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def measure_restarts(folder: Path, items: int, seed: int) -> RestartReport:
    """Kill a writer and restart: half the times before the first snapshot was sealed, half after."""
    layout, chance, report = Layout(folder / "index"), random.Random(seed), RestartReport()
    bundle = write_wide_bundle(folder / "bundle")
    create_index(layout, bundle)
    model = bundle.manifest.model_id
    compute_apart(lambda: _fill(layout, model, items), seconds=600.0)
    for number in range(RESTARTS):
        if number == RESTARTS // 2:
            compute_apart(lambda: _seal(layout), seconds=600.0)
        acknowledged = _write_until_killed(layout, model, number, chance.uniform(0.3, 1.5), folder / "report.txt")
        _restart(layout, acknowledged, report)
    return report


def write_wide_bundle(folder: Path) -> Bundle:
    """A bundle of 128 values; nothing is encoded with it but its golden pictures."""
    weights = np.random.default_rng(0).normal(size=(3 * SIZE * SIZE, _DIMENSIONS)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"
        onnx.save(build_graph(nodes, {"weights": weights}, output_size=_DIMENSIONS), path)
        description = replace(describe_tiny(), embedding_size=_DIMENSIONS)
        return write_bundle(folder, Path(name), encode_golden(path, RULE), description)


def _draw(count_: int, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(count_, _DIMENSIONS)).astype(np.float32)
    units: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def _puts(model: str, prefix: str, rows: Vectors) -> list[Put]:
    pictures = [EncodedPicture(hash_content(f"{prefix}{n}".encode()), None, row, model) for n, row in enumerate(rows)]
    return [Put(f"{prefix}/{number}", None, {}, None, picture) for number, picture in enumerate(pictures)]


def _fill(layout: Layout, model: str, items: int) -> int:
    with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        for start in range(0, items, _BATCH):
            writer.apply(_puts(model, f"first/{start}", _draw(min(_BATCH, items - start), start)))
    return items


def _seal(layout: Layout) -> bool:
    with CatalogWriter(layout.catalog) as catalog:
        return seal_snapshot(layout, catalog) is not None


def _write_until_killed(layout: Layout, model: str, number: int, seconds: float, report: Path) -> int:
    """Items that must be there then, at least."""
    with Catalog(layout.catalog) as catalog:
        before = catalog.count_items()
    board = Board()
    worker = fork(lambda: _write_on(layout, model, number, board), report)
    time.sleep(seconds)
    kill(worker)
    acknowledged = board.read("acknowledged")
    board.close()
    return before + acknowledged


def _write_on(layout: Layout, model: str, number: int, board: Board) -> None:
    """Add a hundred and remove fifty, again and again."""
    with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        for step in count():
            writer.apply(_puts(model, f"{number}/{step}", _draw(100, step)))
            board.write("acknowledged", board.read("acknowledged") + 50)  # the other fifty may be gone already
            writer.apply([Remove(item.id) for item in catalog.list_items(0, 50)])


def _restart(layout: Layout, acknowledged: int, report: RestartReport) -> None:
    started = time.perf_counter()
    command = [sys.executable, "-m", "tests.faults.first_answer", str(layout.folder)]
    answer = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout
    took = time.perf_counter() - started
    size, unsealed, results = map(int, answer.split())
    report.seconds.append(took)
    report.unsealed.append(unsealed)
    if took > LIMIT:
        report.findings.append(f"a restart with {unsealed} unsealed items took {took:.1f} s")
    if size < acknowledged or results != 10:
        report.findings.append(f"{size} items, {results} results; at least {acknowledged} were acknowledged")
