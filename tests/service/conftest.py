"""A real service in a process of its own, over a small real index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from index.builder import build_index
from index.bundle import Bundle
from index.sources import read_source
from tests.service.live_service import LiveService, serve


@pytest.fixture(scope="session")
def drawn_index(tiny_bundle: Bundle, drawn_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the drawn pictures. Read only."""
    folder = tmp_path_factory.mktemp("indexes") / "drawn.index"
    build_index(read_source(drawn_pictures), tiny_bundle, folder)
    return folder


@pytest.fixture(scope="session")
def live_service(
    drawn_index: Path, drawn_pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    """`crossmatch serve`, as a user would run it, on a port of its own. No test may bring it to a traceback."""
    log = tmp_path_factory.mktemp("service") / "log"
    with serve(drawn_index, log) as started:
        pictures = tuple(picture.path for picture in read_source(drawn_pictures).pictures)
        yield LiveService(started.url, drawn_index, pictures, started.process.pid, log)
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="session")
def client(live_service: LiveService) -> Iterator[httpx.Client]:
    """A client of `live_service`."""
    with httpx.Client(base_url=live_service.url, timeout=30) as opened:
        yield opened
