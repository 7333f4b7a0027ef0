"""The pictures and models of the fault harnesses, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.gallery import Gallery, make_gallery


@pytest.fixture(scope="session")
def gallery_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models lie. Read only."""
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture(scope="session")
def gallery(gallery_folder: Path) -> Gallery:
    """What the harnesses write. Read only."""
    return make_gallery(gallery_folder)
