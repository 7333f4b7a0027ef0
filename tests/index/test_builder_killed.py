"""Builds, updates and rebuilds that are killed: the same command given again ends as if they had never been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.builder import find_complete_source
from index.bundle import Bundle
from index.catalog import Catalog
from index.layout import Layout
from tests.indexed_pictures import answers_of, build, check_in_step, items_of
from tests.tiny_model import write_tiny_bundle

ROOT = Path(__file__).parents[2]
COUNT = 300


def write_noise(folder: Path, count: int, seed: int = 0, prefix: str = "") -> None:
    """Photographs of noise, large enough that one thread takes a second or so for 300."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    noise = random.integers(0, 255, size=(500, 600, 3), dtype=np.uint8)
    for number in range(count):
        y, x = int(random.integers(0, 150)), int(random.integers(0, 150))
        Image.fromarray(noise[y : y + 350, x : x + 450]).save(folder / f"{prefix}{number:03}.jpg", quality=60)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 photographs of noise. Read only."""
    folder = tmp_path_factory.mktemp("many") / "noise"
    write_noise(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def noise_index(noise: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their index. Read only."""
    folder = tmp_path_factory.mktemp("whole") / "index"
    build(noise, tiny_bundle, folder)
    return folder


def command(source: Path, bundle: Bundle, folder: Path, *more: str) -> list[str]:
    words = ["index", "build", str(source), "--model", str(bundle.folder), "--index", str(folder), "--threads", "1"]
    return [sys.executable, "-m", "crossmatch", *words, *more]


def kill_once(arguments: list[str], far_enough: Callable[[], bool]) -> bool:
    """Begin a build and `kill -9` it once it is `far_enough`; False if it ended before."""
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and not far_enough():
        time.sleep(0.002)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode != 0


def beyond(measure: Callable[[], int], reached: int) -> bool:
    return measure() > reached


def finish(arguments: list[str]) -> dict[str, object]:
    again = subprocess.run([*arguments, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    fields: dict[str, object] = json.loads(again.stdout)
    return fields


def count_items(folder: Path) -> int:
    """Committed items, also while there is no index yet."""
    if not Layout(folder).is_index():
        return 0
    with Catalog(Layout(folder).catalog) as catalog:
        return catalog.count_items()


def change_number(folder: Path) -> int:
    with Catalog(Layout(folder).catalog) as catalog:
        return catalog.change_number()


def test_a_build(tmp_path: Path, tiny_bundle: Bundle, noise: Path, noise_index: Path) -> None:
    """Killed before its first picture, then amid them."""
    folder = tmp_path / "index"
    arguments = command(noise, tiny_bundle, folder)
    assert kill_once(arguments, folder.exists)
    assert count_items(folder) < COUNT
    assert kill_once(arguments, lambda: count_items(folder) >= 100)
    before = items_of(folder)
    assert 100 <= len(before) < COUNT
    assert find_complete_source(Layout(folder), str(noise)) is None
    fields = finish(arguments)
    assert (fields["added"], fields["kept"], fields["skipped"]) == (COUNT - len(before), len(before), [])
    after = items_of(folder)
    assert {key: after[key] for key in before} == before
    assert after == items_of(noise_index)
    assert answers_of(folder) == answers_of(noise_index)


def test_an_update(tmp_path: Path, tiny_bundle: Bundle, noise: Path, noise_index: Path) -> None:
    """Moved, changed, new and removed files in several transactions; killed after each of them."""
    source, folder = tmp_path / "noise", tmp_path / "index"
    shutil.copytree(noise, source)
    build(source, tiny_bundle, folder)
    for number in range(100):
        (source / f"{number:03}.jpg").rename(source / f"moved-{number:03}.jpg")
    write_noise(source, 60, seed=1, prefix="new-")
    for number in range(100, 160):
        shutil.move(source / f"new-{number - 100:03}.jpg", source / f"{number:03}.jpg")
    write_noise(source, 150, seed=2, prefix="new-")
    for number in range(160, 240):
        (source / f"{number:03}.jpg").unlink()
    arguments = command(source, tiny_bundle, folder, "--update")
    kills, reached = 0, change_number(folder)
    while kill_once(arguments, partial(beyond, lambda: change_number(folder), reached)):
        kills, reached = kills + 1, change_number(folder)
    assert kills >= 2
    finish(arguments)
    check_in_step(folder, source, tiny_bundle, tmp_path / "fresh")
    before = items_of(noise_index)
    after = items_of(folder)
    assert all(after[f"moved-{key}"].id == before[key].id for key in list(before)[:100])


def test_a_rebuild(tmp_path: Path, noise: Path, noise_index: Path) -> None:
    """Another model: killed with its draft begun, and after each batch; the old one answers until it is whole."""
    folder, better = tmp_path / "index", write_tiny_bundle(tmp_path / "better", seed=1)
    shutil.copytree(noise_index, folder)
    before = answers_of(folder)
    arguments = command(noise, better, folder)

    def encoded() -> int:
        """Rows of the draft; -1 before there is one."""
        with Catalog(Layout(folder).catalog) as catalog:
            return next((len(catalog.vector_ids(draft)) for draft in catalog.drafts()), -1)

    reached, kills = -1, 0
    while kill_once(arguments, partial(beyond, encoded, reached)):
        kills, reached = kills + 1, encoded()
        if reached < 0:  # it was whole, and ended by the kill all the same
            break
        assert answers_of(folder) == before
    assert kills >= 3
    build(noise, better, tmp_path / "fresh")
    assert items_of(folder) == items_of(tmp_path / "fresh")
    assert answers_of(folder) == answers_of(tmp_path / "fresh")
