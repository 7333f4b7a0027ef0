"""The default bundle, made without torch, beside torch's own model with the same weights, on Grocery.

    python -m benchmarks.untrained --root ../shared/data/grocery

Prints the figures of both by the three protocols, and how far their vectors are apart over all those pictures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe_machine, print_table
from index.assessment import encode_pictures, evaluate_vectors
from index.datasets import Protocol, read_protocol
from index.images import ImageLimits, read_bytes
from index.model_export import export_pretrained
from index.preprocess import Preprocessing, preprocess_bytes
from index.sources import SourcePicture
from index.types import Vectors, unit_vectors
from training.backbones import build_backbone
from training.model import Embedder, build_plain_embedder

PROTOCOLS = ("shelf", "catalogue", "self")
BATCH = 16


def encode_with_torch(embedder: Embedder, rule: Preprocessing, pictures: tuple[SourcePicture, ...]) -> Vectors:
    """(n, d) float32 unit vectors by torch, from the same preprocessed pixels."""
    vectors = []
    for start in range(0, len(pictures), BATCH):
        data = [read_bytes(picture.path, ImageLimits()) for picture in pictures[start : start + BATCH]]
        pixels = np.stack([preprocess_bytes(one, rule, ImageLimits()) for one in data])
        with torch.inference_mode():
            vectors.append(embedder(torch.from_numpy(pixels)).embedding.numpy())
    return unit_vectors(np.concatenate(vectors))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    root = parser.parse_args().root
    print(describe_machine("onnxruntime", "torch", "timm"))
    protocols = [read_protocol("grocery", root, name) for name in PROTOCOLS]
    pictures = distinct_pictures(protocols)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_pretrained("efficientnet_lite0", Path(folder) / "bundle")
        started = time.perf_counter()
        ours = encode_pictures(bundle, pictures)
        ours_seconds = time.perf_counter() - started
    embedder = build_plain_embedder(build_backbone("efficientnet_lite0", "pretrained"))
    started = time.perf_counter()
    torchs = encode_with_torch(embedder, bundle.manifest.preprocessing, pictures)
    torch_seconds = time.perf_counter() - started
    rows: list[tuple[object, ...]] = []
    for protocol in protocols:
        for name, vectors in (("bundle made without torch", ours), ("torch, timm's model", torchs)):
            figures = evaluate_vectors(protocol, pictures, vectors)
            rows.append((protocol.name, name, figures.recall[1], figures.map_at_r, figures.r_precision))
    print_table(("protocol", "model", "R@1", "MAP@R", "R-precision"), rows)
    print(f"\n{len(pictures)} pictures: largest difference of a vector's component {np.abs(ours - torchs).max():.1e},")
    print(f"lowest cosine {np.einsum('nd,nd->n', ours, torchs).min():.7f}; decoded and encoded by the bundle in")
    print(f"{ours_seconds:.0f} s ({len(pictures) / ours_seconds:.0f}/s), by torch in {torch_seconds:.0f} s")


def distinct_pictures(protocols: list[Protocol]) -> tuple[SourcePicture, ...]:
    """Every picture of the protocols once."""
    return tuple({p.key: p for protocol in protocols for p in (*protocol.gallery, *protocol.queries)}.values())


if __name__ == "__main__":
    main()
