"""Benchmarks made from archives in their original layouts; a failure names what the user gave, and leaves nothing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from index.datasets import read_protocol, read_training_pictures
from index.datasets.origins import BENCHMARKS
from index.download import Origin
from index.errors import CrossmatchError, SourceError, UsageError
from index.preparation import Prepared, Request, prepare
from tests.miniature_sets import MINIATURES, pack_tgz, pack_zip, write_cars_kit

NAMES = tuple(MINIATURES)


@contextmanager
def no_bar(_title: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


def make(name: str, root: Path, *own: Path, subset: bool = True) -> Prepared:
    return prepare(Request(BENCHMARKS[name], root, own, subset), no_bar)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder to prepare in, apart from the archives."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("pack", [pack_tgz, pack_zip])
@pytest.mark.parametrize("name", NAMES)
def test_from_an_archive(tmp_path: Path, place: Path, name: str, pack: Callable[[Path, Path], Path]) -> None:
    archive = pack(MINIATURES[name](tmp_path / "original"), tmp_path / f"{name}.archive")
    prepared = make(name, place / name, archive)
    assert (prepared.counts.classes, prepared.counts.training_classes, prepared.official) == (4, 2, False)
    assert [path.name for path in place.iterdir()] == [name]
    record = json.loads((place / name / "prepared.json").read_text(encoding="utf-8"))
    assert record["format"] == 1
    assert {key: record[key] for key in ("name", "pictures")} == {"name": name, "pictures": prepared.counts.pictures}
    assert record["files"][0]["md5"] == hashlib.md5(archive.read_bytes()).hexdigest()
    assert len(read_training_pictures(name, place / name)) == 8
    assert all(picture.path.is_file() for picture in read_protocol(name, place / name).gallery)
    assert make(name, place / name).counts == prepared.counts  # given again: checked


@pytest.mark.parametrize("name", NAMES)
def test_from_a_folder_and_in_place(tmp_path: Path, place: Path, name: str) -> None:
    original = MINIATURES[name](tmp_path / "original")
    assert make(name, place / name, original).counts == make(name, original).counts
    assert len(list(original.rglob("*.jpg"))) >= len(list((place / name).rglob("*.jpg")))


def test_cars_in_pieces(tmp_path: Path, place: Path) -> None:
    whole = MINIATURES["cars"](tmp_path / "whole")
    annotations = tmp_path / "cars_annos.mat"
    shutil.move(whole / "cars_annos.mat", annotations)
    make("cars", place / "cars", pack_tgz(whole, tmp_path / "car_ims.tgz"), annotations)
    assert (place / "cars" / "annotations.csv").read_text(encoding="utf-8").startswith("path,class,name\n")
    kit = write_cars_kit(tmp_path / "kit")
    parts = []
    for name in ("cars_train", "cars_test", "devkit"):
        (tmp_path / f"only {name}").mkdir()
        shutil.move(kit / name, tmp_path / f"only {name}" / name)
        parts.append(pack_tgz(tmp_path / f"only {name}", tmp_path / f"{name}.tgz"))
    prepared = make("cars", place / "kit", *parts, kit / "cars_test_annos_withlabels.mat")
    assert prepared.counts == make("cars", place / "cars").counts


def test_inshop_as_it_is_sent(tmp_path: Path, place: Path) -> None:
    """`Img/img.zip` inside the folder, and the zip beside the list."""
    original = MINIATURES["inshop"](tmp_path / "original")
    top = original / "In-shop Clothes Retrieval Benchmark"
    (tmp_path / "pictures").mkdir()
    shutil.move(top / "Img" / "img", tmp_path / "pictures" / "img")
    pictures = pack_zip(tmp_path / "pictures", tmp_path / "img.zip")
    partition = top / "Eval" / "list_eval_partition.txt"
    assert make("inshop", place / "two", pictures, partition).counts.pictures == 16
    shutil.copyfile(pictures, top / "Img" / "img.zip")
    assert make("inshop", place / "one", original).counts.pictures == 16
    assert not list((place / "one").rglob("*.zip"))


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_it_is_refused_by_the_official_counts(tmp_path: Path, place: Path, name: str) -> None:
    archive = pack_tgz(MINIATURES[name](tmp_path / "original"), tmp_path / "x.tgz")
    with pytest.raises(SourceError, match=rf"x\.tgz: not the whole of .*{BENCHMARKS[name].counts.pictures} pictures"):
        make(name, place / "deep" / name, archive, subset=False)
    assert not list((place / "deep").iterdir())


def test_counts_of_the_papers() -> None:
    counts = {
        name: (one.counts.pictures, one.counts.classes, one.counts.training_classes) for name, one in BENCHMARKS.items()
    }
    assert counts["cub"] == (11_788, 200, 100)
    assert counts["cars"] == (16_185, 196, 98)
    assert counts["sop"] == (120_053, 22_634, 11_318)
    assert counts["inshop"] == (52_712, 7_982, 3_997)
    for benchmark in BENCHMARKS.values():
        assert all(address.startswith("http") for origin in benchmark.files for address in origin.addresses)
        assert all(origin.md5 is None or len(origin.md5) == 32 for origin in benchmark.files)


def test_a_listed_picture_that_is_missing_or_empty(tmp_path: Path, place: Path) -> None:
    original = MINIATURES["sop"](tmp_path / "original")
    pictures = sorted(original.rglob("*.JPG"))
    pictures[3].unlink()
    pictures[5].write_bytes(b"")
    with pytest.raises(SourceError, match=r"2 of 16 listed pictures are missing or empty .*no bicycle_final/1110851"):
        make("sop", place / "sop", original)
    assert not list(place.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_the_wrong_archive(tmp_path: Path, place: Path, name: str) -> None:
    other = "sop" if name != "sop" else "cub"
    archive = pack_tgz(MINIATURES[other](tmp_path / "original"), tmp_path / "wrong.tgz")
    with pytest.raises(SourceError, match=r"wrong\.tgz: not ") as caught:
        make(name, place / name, archive)
    assert "draft" not in str(caught.value)
    assert not list(place.iterdir())


def test_an_archive_that_was_cut_off(tmp_path: Path, place: Path) -> None:
    archive = pack_tgz(MINIATURES["cub"](tmp_path / "original"), tmp_path / "cub.tgz")
    archive.write_bytes(archive.read_bytes()[:-3000])
    with pytest.raises(SourceError, match=r"cub\.tgz: (broken or cut off|can not be unpacked)"):
        make("cub", place / "cub", archive)
    with pytest.raises(SourceError, match="no such archive or folder"):
        make("cub", place / "cub", tmp_path / "missing.tgz")
    assert not list(place.iterdir())


def test_what_is_in_the_way_stays(tmp_path: Path, place: Path) -> None:
    archive = pack_tgz(MINIATURES["cub"](tmp_path / "original"), tmp_path / "cub.tgz")
    (place / "cub").mkdir()
    (place / "cub" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="the folder is in the way"):
        make("cub", place / "cub", archive)
    with pytest.raises(UsageError, match=r"not the whole of CUB-200-2011: .*choose another --root"):
        make("cub", place / "cub")
    assert [path.name for path in (place / "cub").iterdir()] == ["mine.txt"]
    (place / "cub" / "mine.txt").unlink()
    assert make("cub", place / "cub", archive).counts.pictures == 16  # an empty folder is none in the way


def test_a_root_inside_the_folder_that_is_copied(tmp_path: Path) -> None:
    original = MINIATURES["cub"](tmp_path / "original")
    with pytest.raises(UsageError, match="the root lies in the folder that is to be copied"):
        make("cub", original / "new", original)
    assert sorted(path.name for path in original.iterdir()) == ["CUB_200_2011", "attributes.txt"]


def test_two_at_once(tmp_path: Path, place: Path) -> None:
    archive = pack_tgz(MINIATURES["cub"](tmp_path / "original"), tmp_path / "cub.tgz")
    (place / ".cub-draft").mkdir()
    held = os.open(place / ".cub-draft", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="another process prepares this folder"):
        make("cub", place / "cub", archive)
    os.close(held)
    assert make("cub", place / "cub", archive).counts.pictures == 16


def test_killed_in_the_middle(tmp_path: Path, place: Path) -> None:
    """A real kill while it unpacks: no root; the next run clears away what was left, and ends."""
    original = MINIATURES["cub"](tmp_path / "original")
    for number in range(3000):
        (original / f"{number}.txt").write_bytes(b"more to unpack")
    archive = pack_tgz(original, tmp_path / "cub.tgz")
    command = ["data", "prepare", "cub", "--root", str(place / "cub"), "--archive", str(archive), "--subset"]
    process = subprocess.Popen([sys.executable, "-m", "crossmatch", *command], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 30
    while not (place / ".cub-draft" / "content").is_dir() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [path.name for path in place.iterdir()] == [".cub-draft"]
    assert make("cub", place / "cub", archive).counts.pictures == 16
    assert [path.name for path in place.iterdir()] == ["cub"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_downloaded(tmp_path: Path, place: Path) -> None:
    """The whole way over real HTTP, with the checksum; a wrong one leaves nothing but what can go on."""
    archive = pack_tgz(MINIATURES["cub"](tmp_path / "original"), tmp_path / "CUB_200_2011.tgz")
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/CUB_200_2011.tgz"
        for md5, right in ((hashlib.md5(archive.read_bytes()).hexdigest(), True), ("0" * 32, False)):
            files = (Origin("CUB_200_2011.tgz", (address,), md5),)
            benchmark = replace(BENCHMARKS["cub"], files=files)
            request = Request(benchmark, place / str(right), subset=True)
            if right:
                assert prepare(request, no_bar).files[0]["checksum"] == "right"
            else:
                with pytest.raises(CrossmatchError, match="not the file that it should be"):
                    prepare(request, no_bar)
        server.shutdown()
    assert not (place / "False").exists()
    assert not (place / ".True-downloads").exists()


def test_in_shop_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"can not be downloaded by a program .*mmlab.*img\.zip"):
        make("inshop", Path("/nonexistent/inshop"))
