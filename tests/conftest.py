"""Fixtures that every package's tests share. Folders of session scope are read only: copy before changing one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from index.bundle import Bundle
from index.encoder import Encoder
from tests.drawn_pictures import write_drawn_pictures
from tests.tiny_model import write_tiny_bundle


@pytest.fixture(scope="session")
def make_tiny_bundle() -> Callable[..., Bundle]:
    """`make_tiny_bundle(folder, seed=0)`: a bundle of one's own, with another model for another seed."""
    return write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A real bundle of a few kilobytes, 32x32 pixels to 16 values; `tiny_bundle.folder` is its path. Read only."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def tiny_encoder(tiny_bundle: Bundle) -> Encoder:
    """One encoder over `tiny_bundle`, for one thread."""
    return Encoder(tiny_bundle)


@pytest.fixture(scope="session")
def drawn_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 drawn PNG and JPEG files, 4 in each of 6 folders named by label. Read only."""
    return write_drawn_pictures(tmp_path_factory.mktemp("pictures") / "drawn")


@pytest.fixture
def own_pictures(tmp_path: Path) -> Path:
    """The same 24 pictures in a folder that the test may change."""
    return write_drawn_pictures(tmp_path / "own_pictures")
