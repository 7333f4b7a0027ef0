"""Fixtures of the index's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.bundle import Bundle
from index.encoder import Encoder
from index.layout import Layout
from index.types import Vectors
from tests.indexed_pictures import Encodes, build
from tests.tiny_model import write_tiny_bundle
from tests.vector_gallery import make_index


@pytest.fixture
def encodes(monkeypatch: pytest.MonkeyPatch) -> Encodes:
    """`encodes.take()`: how many pictures were encoded in this process since it was last asked."""
    counter, original = Encodes(), Encoder.encode

    def encode(encoder: Encoder, pixels: NDArray[np.float32]) -> Vectors:
        counter.count += 1
        return original(encoder, pixels)

    monkeypatch.setattr(Encoder, "encode", encode)
    return counter


@pytest.fixture(scope="session")
def better(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another model. Read only."""
    return write_tiny_bundle(tmp_path_factory.mktemp("better") / "bundle", seed=1)


@pytest.fixture(scope="session")
def best(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A third. Read only."""
    return write_tiny_bundle(tmp_path_factory.mktemp("best") / "bundle", seed=2)


@pytest.fixture
def indexed(tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path) -> Path:
    """An index of the 24 pictures of `own_pictures`."""
    build(own_pictures, tiny_bundle, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def layout(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """An index without items; many modules have one of their own."""
    return make_index(tmp_path / "index", tiny_bundle)
