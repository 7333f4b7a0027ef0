"""Indexes of bare vectors of any size, for benchmarks of what comes after the encoder."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from index.bundle import Bundle, write_bundle
from index.catalog_writer import CatalogWriter
from index.creation import create_index
from index.layout import Layout
from index.types import Vectors
from index.writer import EncodedPicture, IndexWriter, Put
from tests.tiny_model import RULE, build_graph, describe_tiny, encode_golden

_BATCH = 10_000  # items a transaction


def write_sized_bundle(folder: Path, size: int) -> Bundle:
    """A real bundle of a random projection to `size` values."""
    weights: NDArray[np.float32] = np.random.default_rng(0).normal(size=(192, size)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    with tempfile.TemporaryDirectory() as name:
        onnx.save(build_graph(nodes, {"weights": weights}, output_size=size), Path(name) / "model.onnx")
        golden = encode_golden(Path(name) / "model.onnx", RULE)
        return write_bundle(folder, Path(name), golden, replace(describe_tiny(), embedding_size=size))


def draw_clustered(count: int, size: int, seed: int = 0, clusters: int = 1000) -> Vectors:
    """(count, size) float32 unit vectors around random centres, as embeddings of classes lie."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(clusters, size)).astype(np.float32)
    rows = np.empty((count, size), dtype=np.float32)
    for start in range(0, count, _BATCH):
        block = rows[start : start + _BATCH]
        noise = random.normal(size=block.shape).astype(np.float32)
        block[:] = centres[random.integers(0, clusters, len(block))] + noise
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def make_vector_index(folder: Path, bundle: Bundle, recipe: str) -> Layout:
    """An empty index for a bundle."""
    layout = Layout(folder)
    create_index(layout, bundle, recipe)
    return layout


def put_rows(layout: Layout, bundle: Bundle, rows: Vectors, first: int = 0, *, replace_old: bool = False) -> None:
    """Items `item-<first>`, ... with these vectors (n, d), in large durable transactions."""
    model = bundle.manifest.model_id
    with CatalogWriter(layout.catalog) as catalog, IndexWriter(layout, catalog) as writer:
        for start in range(0, len(rows), _BATCH):
            writer.apply(
                [
                    Put(f"item-{number}", None, {}, None, _stand_in(number, row, model), replace_old)
                    for number, row in enumerate(rows[start : start + _BATCH], start=first + start)
                ]
            )


def _stand_in(number: int, row: Vectors, model: str) -> EncodedPicture:
    """What an encoded picture would be; its content hash says which vector it was."""
    return EncodedPicture(f"{number:08x}{abs(hash(row.tobytes())):056x}"[:64], None, row, model)
