from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from index.errors import UnsupportedImageError
from index.images import ImageLimits, decode
from index.preprocess import Preprocessing, reduce_to, resize
from training.picture_cache import PictureCache

RULE = Preprocessing(resize=36, input_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def paths(drawn_pictures: Path) -> list[Path]:
    return sorted(drawn_pictures.rglob("*.*g"))


@pytest.mark.parametrize("budget", [0.0, 1e-5, 1.0])  # none, two or three pictures, all
def test_pictures_are_those_of_the_preprocessor_whatever_the_budget(paths: list[Path], budget: float) -> None:
    cache = PictureCache(paths, RULE, budget)
    cache.fill()
    for number, path in enumerate(paths):
        expected = resize(decode(path.read_bytes(), ImageLimits(), reduce_to(RULE)), RULE)
        np.testing.assert_array_equal(np.asarray(cache.picture(number)), np.asarray(expected))
    assert cache.digests == tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)


def test_a_full_cache_needs_no_files(own_pictures: Path) -> None:
    paths = sorted(own_pictures.rglob("*.*g"))
    cache = PictureCache(paths, RULE, 1.0)
    steps: list[tuple[int, int]] = []
    cache.fill(lambda done, total: steps.append((done, total)))
    for path in paths:
        path.unlink()
    assert min(cache.picture(23).size) == 36
    assert steps[-1] == (24, 24)


def test_a_broken_picture_is_named_at_once(paths: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture", encoding="utf-8")
    with pytest.raises(UnsupportedImageError, match=r"bad\.png"):
        PictureCache([*paths, bad], RULE, 1.0).fill()
