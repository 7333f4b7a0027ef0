"""The index that the service's benchmarks serve: real Grocery vectors and as many made from them as are wanted.

Made once and kept in a folder outside the repository; one that is whole is used again.
What may change here: how vectors are made up. Not: that they spread as the real ones do.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from benchmarks.vector_index import make_vector_index, put_rows
from index.bundle import Bundle, read_bundle
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.encoder import Encoder
from index.encoder_pool import EncoderPool
from index.layout import Layout
from index.model_export import export_pretrained
from index.snapshot import seal_snapshot
from index.types import Vectors, unit_vectors

REAL = 1000  # pictures that are encoded
_NOISE = 0.5  # length of what is added to a unit vector


def make_model(cache: Path) -> Bundle:
    """EfficientNet-Lite0 as it comes."""
    folder = cache / "model"
    if not (folder / "manifest.json").exists():
        export_pretrained("efficientnet_lite0", folder)
    return read_bundle(folder)


def make_served_index(cache: Path, root: Path, items: int, name: str = "served", recipe: str = "hnsw") -> Layout:
    """An index of `items`, sealed; the first 1,000 at most are real."""
    layout = Layout(cache / f"{name}-{items}.index")
    bundle = make_model(cache)
    if not _is_whole(layout, items):
        shutil.rmtree(layout.folder, ignore_errors=True)
        make_vector_index(layout.folder, bundle, recipe)
        put_rows(layout, bundle, make_vectors(cache, root, bundle, items))
        with CatalogWriter(layout.catalog) as catalog:
            seal_snapshot(layout, catalog)
    return layout


def _is_whole(layout: Layout, items: int) -> bool:
    if not layout.is_index():
        return False
    with Catalog(layout.catalog) as catalog:
        return catalog.count_items() >= items and catalog.snapshot(catalog.active_generation()) is not None


def make_vectors(cache: Path, root: Path, bundle: Bundle, items: int) -> Vectors:
    """(items, d): real ones, then each of them with noise of its own, again and again."""
    real = encode_real(cache, root, bundle)[:items]
    random = np.random.default_rng(0)
    rows = [real]
    while sum(map(len, rows)) < items:
        noise = random.normal(size=real.shape) * (_NOISE / np.sqrt(real.shape[1]))
        rows.append(unit_vectors(real + noise))
    return np.concatenate(rows)[:items]


def encode_real(cache: Path, root: Path, bundle: Bundle) -> Vectors:
    """(n, d) of Grocery's training pictures, encoded once."""
    path = cache / f"real-{bundle.manifest.model_id[:8]}.npy"
    if not path.exists():
        files = sorted((root / "train").rglob("*.jpg"))
        files = files[:: max(1, len(files) // REAL)][:REAL]
        pool = EncoderPool(bundle)
        np.save(path, np.stack(list(pool.map(Encoder.encode_file, files))))
    rows: Vectors = np.load(path)
    return rows
