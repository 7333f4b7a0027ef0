"""A build that is killed: the same command given again ends as if it had never been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.builder import build_index, find_complete_source
from index.bundle import Bundle
from index.catalog import Catalog
from index.errors import IndexDataError
from index.layout import Layout
from index.searcher import Searcher
from index.sources import Source, read_source
from index.types import Item

ROOT = Path(__file__).parents[2]


def items_of(folder: Path) -> list[Item]:
    """All items, by id."""
    with Catalog(Layout(folder).catalog) as catalog:
        return sorted(catalog.items_of_pictures(range(1, 10_000)).values(), key=lambda item: item.id)


@pytest.fixture(scope="module")
def many_pictures(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """300 photographs of noise, large enough that one thread takes a second or more for them."""
    folder = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(7)
    noise = random.integers(0, 255, size=(700, 900, 3), dtype=np.uint8)
    for number in range(300):
        y, x = int(random.integers(0, 200)), int(random.integers(0, 200))
        Image.fromarray(noise[y : y + 500, x : x + 700]).save(folder / f"{number:03}.jpg", quality=60)
    return read_source(folder)


def count_items(folder: Path) -> int:
    """Committed items, whatever state the index is in."""
    try:
        with Catalog(Layout(folder).catalog) as catalog:
            return catalog.count_items()
    except IndexDataError:
        return 0


def kill(command: list[str], folder: Path, kill_at: int) -> None:
    """Begin a build and `kill -9` it once so many items are committed."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and (not folder.exists() or count_items(folder) < kill_at):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_and_given_again(tmp_path: Path, tiny_bundle: Bundle, many_pictures: Source) -> None:
    """`kill -9` on a real build, twice: the same command then ends complete, as if it had never been killed."""
    folder = tmp_path / "index"
    command = [sys.executable, "-m", "crossmatch", "index", "build", many_pictures.name]
    command += ["--model", str(tiny_bundle.folder), "--index", str(folder), "--threads", "1"]
    kill(command, folder, 0)
    assert len(items_of(folder)) < 300
    kill(command, folder, 100)
    before = items_of(folder)
    assert 100 <= len(before) < 300
    assert find_complete_source(Layout(folder), many_pictures.name) is None

    again = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert f'"added": {300 - len(before)}, "kept": {len(before)}, "skipped": []' in again.stdout
    after = items_of(folder)
    assert after[: len(before)] == before
    assert sorted(item.key for item in after) == [f"{number:03}.jpg" for number in range(300)]
    _check_same_answers(folder, many_pictures, tiny_bundle, tmp_path / "whole")


def _check_same_answers(resumed: Path, pictures: Source, bundle: Bundle, whole: Path) -> None:
    build_index(pictures, bundle, whole)
    rows = np.fromfile(next(whole.glob("generations/*/vectors.f32")), dtype="<f4").reshape(-1, 16)[1:]
    with Searcher(resumed) as one, Searcher(whole) as other:
        for query in rows[::10]:
            results = [searcher.search(query, 300, model=bundle.manifest.model_id) for searcher in (one, other)]
            assert results[0] == results[1]
            assert len(results[0].matches) == 300
