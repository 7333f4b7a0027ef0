"""The pictures and models that the fault harnesses write, known beforehand: what each picture's vector has to be.

Everything follows from numbers, so that two processes agree on it without a word. What may change here: how many.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from index.bundle import Bundle, read_bundle
from index.encoder import Encoder
from index.encoding import hash_content
from index.types import Vectors
from tests.drawn_pictures import COLOURS, draw_picture
from tests.tiny_model import write_tiny_bundle

CONTENTS = 120  # different picture files
MODELS = 2


@dataclass(frozen=True, eq=False)
class Gallery:
    """Contents by number, and the models by number."""

    files: tuple[bytes, ...]
    hashes: tuple[str, ...]
    bundles: tuple[Bundle, ...]
    vectors: tuple[tuple[Vectors, ...], ...]  # by model, then by content: (d,) float32

    def number_of(self, content_hash: str) -> int | None:
        """Which content has a hash."""
        return self.hashes.index(content_hash) if content_hash in self.hashes else None

    def model_of(self, model_id: str) -> int:
        """Which model has an id."""
        return [bundle.manifest.model_id for bundle in self.bundles].index(model_id)


def make_gallery(folder: Path) -> Gallery:
    """Draw the pictures, and make the models below `folder` unless they are there."""
    labels = list(COLOURS)
    files = tuple(
        draw_picture(labels[number % len(labels)], number // len(labels), "JPEG" if number % 3 else "PNG")
        for number in range(CONTENTS)
    )
    bundles = tuple(_open_bundle(folder / f"model-{number}", number) for number in range(MODELS))
    vectors = tuple(tuple(map(Encoder(bundle).encode_bytes, files)) for bundle in bundles)
    return Gallery(files, tuple(map(hash_content, files)), bundles, vectors)


def _open_bundle(folder: Path, seed: int) -> Bundle:
    return read_bundle(folder) if folder.is_dir() else write_tiny_bundle(folder, seed)
