"""The indexer's script, run for real on drawn pictures: it builds, says so, follows the folder, and ends when told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from index.bundle import Bundle
from index.catalog import Catalog
from index.layout import Layout
from tests.docker.compose_files import ROOT

SCRIPT = ROOT / "docker" / "bin" / "crossmatch-indexer"


def wait_until(happened: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def count_items(index: Path) -> int:
    layout = Layout(index)
    if not layout.is_index():
        return 0
    with Catalog(layout.catalog) as catalog:
        return catalog.count_items()


@pytest.fixture
def indexer(tmp_path: Path, own_pictures: Path, tiny_bundle: Bundle) -> Iterator[subprocess.Popen[str]]:
    """The script at work on `own_pictures`, a look a second."""
    tools = tmp_path / "bin"
    tools.mkdir()
    command = tools / "crossmatch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m crossmatch "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    (tmp_path / "run").mkdir()
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path / "run"),
        "CROSSMATCH_SOURCE": str(own_pictures),
        "CROSSMATCH_INDEX": str(tmp_path / "index"),
        "CROSSMATCH_MODEL": str(tiny_bundle.folder),
        "CROSSMATCH_EVERY": "1",
    }
    with subprocess.Popen(
        [SCRIPT], env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        yield process
        process.kill()


def test_it_builds_follows_the_folder_and_ends(
    indexer: subprocess.Popen[str], tmp_path: Path, own_pictures: Path, make_tiny_bundle: Callable[..., Bundle]
) -> None:
    index, in_step = tmp_path / "index", tmp_path / "run" / "in-step"
    wait_until(in_step.exists)
    assert count_items(index) == 24

    first = next(own_pictures.rglob("*.png"))
    first.with_name("copy.png").write_bytes(first.read_bytes())
    wait_until(lambda: count_items(index) == 25)

    for picture in [path for path in own_pictures.rglob("*") if path.is_file()]:
        picture.unlink()  # as when a disk is not mounted: refused, nothing removed, and the container is not healthy
    wait_until(lambda: not in_step.exists())
    assert count_items(index) == 25

    first.write_bytes(b"")
    started = time.monotonic()
    indexer.send_signal(signal.SIGTERM)
    output, _ = indexer.communicate(timeout=20)
    assert indexer.returncode == 0
    assert time.monotonic() - started < 10
    assert "holds no picture" in output
    assert "Traceback" not in output
