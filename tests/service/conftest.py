"""A real service in a process of its own, over a small real index."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from index.builder import build_index
from index.bundle import Bundle
from index.sources import read_source


@dataclass(frozen=True)
class LiveService:
    """Where a running service answers, and what it was built from."""

    url: str
    index: Path
    pictures: tuple[Path, ...]
    process: int


@pytest.fixture(scope="session")
def drawn_index(tiny_bundle: Bundle, drawn_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the drawn pictures. Read only."""
    folder = tmp_path_factory.mktemp("indexes") / "drawn.index"
    build_index(read_source(drawn_pictures), tiny_bundle, folder)
    return folder


@pytest.fixture(scope="session")
def live_service(drawn_index: Path, drawn_pictures: Path) -> Iterator[LiveService]:
    """`crossmatch serve`, as a user would run it, on a port of its own."""
    command = [sys.executable, "-m", "crossmatch", "serve", "--index", str(drawn_index), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            address = re.search(r"http://\S+", line)
            assert address, f"the service did not start: {line}{process.stderr.read()}"
            pictures = tuple(picture.path for picture in read_source(drawn_pictures).pictures)
            yield LiveService(address[0], drawn_index, pictures, process.pid)
        finally:
            process.terminate()
            process.wait(20)
