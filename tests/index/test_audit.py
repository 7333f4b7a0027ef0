"""Copies of every kind put across the splits of a data set are found, others are not; small and broken are named."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import crossmatch
from index.audit import audit
from index.fingerprint import take_fingerprint
from index.images import ImageLimits
from tests.miniature_sets import COLOURS, MINIATURES, write_picture

SOP = "Stanford_Online_Products/bicycle_final"


@pytest.fixture
def sop(tmp_path: Path) -> Path:
    return MINIATURES["sop"](tmp_path)


def picture(root: Path, class_: int, place: int) -> Path:
    return root / SOP / f"1110851{class_:05d}_{place}.JPG"


@pytest.mark.parametrize("name", MINIATURES)
def test_a_clean_data_set(tmp_path: Path, name: str) -> None:
    root = MINIATURES[name](tmp_path)
    root = root / "dataset" if name == "grocery" else root
    found = audit(name, root)
    assert found.is_clean
    assert not found.copies
    expected = {"train": 8, "query": 4, "gallery": 4} if name == "inshop" else {"train": 8, "test": 8}
    if name == "grocery":
        expected = {"train": 8, "query": 2, "gallery": 6}
    assert found.splits == expected


def test_the_same_bytes_across_splits(sop: Path) -> None:
    shutil.copyfile(picture(sop, 1, 0), picture(sop, 3, 2))
    found = audit("sop", sop)
    [copies] = found.copies
    assert (copies.kind, copies.is_leak, copies.is_conflict) == ("bytes", True, True)
    assert {key[-10:] for key in found.copies[0].keys} == {"0003_2.JPG", "0001_0.JPG"}
    assert set(found.copies[0].splits) == {"train", "test"}
    assert not found.is_clean


def test_other_bytes_with_the_same_pixels(sop: Path) -> None:
    image = Image.open(picture(sop, 1, 0))
    image.save(picture(sop, 4, 1), "PNG")
    [copies] = audit("sop", sop).copies
    assert (copies.kind, copies.is_leak) == ("pixels", True)


@pytest.mark.parametrize("change", ["quality", "size", "mirror"])
def test_a_copy_to_the_eye(sop: Path, change: str) -> None:
    image = Image.open(picture(sop, 2, 1)).convert("RGB")
    image.load()
    if change == "size":
        image = image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)
    elif change == "mirror":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image.save(picture(sop, 3, 0), "JPEG", quality=70)
    found = [(one.kind, one.is_leak) for one in audit("sop", sop).copies]
    assert found == ([] if change == "mirror" else [("near", True)])


def test_flat_pictures_of_other_colours_are_no_copies(sop: Path) -> None:
    for class_, colour in ((1, (200, 30, 30)), (3, (30, 30, 200))):
        Image.new("RGB", (50, 50), colour).save(picture(sop, class_, 0), "PNG")
    assert not audit("sop", sop).copies


def test_within_a_split(sop: Path) -> None:
    """Copies in one class are told, and leak nothing; under two labels they are a conflict."""
    shutil.copyfile(picture(sop, 1, 0), picture(sop, 1, 1))
    shutil.copyfile(picture(sop, 3, 0), picture(sop, 4, 1))
    found = audit("sop", sop)
    assert sorted((one.kind, one.is_leak, one.is_conflict) for one in found.copies) == [
        ("bytes", False, False), ("bytes", False, True),
    ]  # fmt: skip
    assert found.is_clean


def test_a_query_that_is_in_the_gallery(tmp_path: Path) -> None:
    root = MINIATURES["inshop"](tmp_path)
    folder = root / "In-shop Clothes Retrieval Benchmark/Img/img/WOMEN/Dresses/id_00000003"
    shutil.copyfile(folder / "01_1_front.jpg", folder / "02_1_front.jpg")
    [leak] = audit("inshop", root).leaks
    assert set(leak.splits) == {"query", "gallery"}


def test_what_is_broken_and_what_is_small(sop: Path) -> None:
    picture(sop, 1, 0).write_bytes(picture(sop, 1, 0).read_bytes()[:200])
    picture(sop, 3, 1).unlink()
    listing = sop / "Stanford_Online_Products/Ebay_test.txt"
    listing.write_text(listing.read_text(encoding="utf-8") + "17 9 1 bicycle_final/lonely.JPG\n", encoding="utf-8")
    write_picture(sop / SOP / "lonely.JPG", COLOURS[3], 9)
    found = audit("sop", sop)
    assert {(one.key[-10:], one.split) for one in found.broken} == {("0001_0.JPG", "train"), ("0003_1.JPG", "test")}
    assert all(one.reason for one in found.broken)
    assert [(one.label, one.split, one.pictures) for one in found.small_classes] == [("9", "test", 1)]


def test_a_folder_has_no_splits(own_pictures: Path) -> None:
    shutil.copyfile(own_pictures / "red/red-0.png", own_pictures / "blue/copy.png")
    found = audit("folder", own_pictures)
    assert found.splits == {"all": 25}
    assert [(one.kind, one.is_leak, one.is_conflict) for one in found.copies] == [("bytes", False, True)]


def test_the_command(sop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "audit", "sop", "--root", str(sop)]
    assert crossmatch.run(command) == 0
    assert "leaks           0" in capsys.readouterr().out
    shutil.copyfile(picture(sop, 1, 0), picture(sop, 3, 2))
    assert crossmatch.run(command) == 1
    assert "leak  bytes: test bicycle_final/111085100003_2.JPG" in capsys.readouterr().out
    assert crossmatch.run([*command, "--json"]) == 1
    fields = json.loads(capsys.readouterr().out)
    assert (fields["leaks"], fields["conflicts"], fields["splits"]) == (1, 1, {"test": 8, "train": 8})
    assert fields["copies"][0]["leak"]
    assert crossmatch.run(["data", "audit", "cats", "--root", str(sop)]) == 2


def test_threads_and_turned_pictures(sop: Path) -> None:
    """A picture and its copy that is turned by EXIF alone are one to the eye."""
    shutil.copyfile(picture(sop, 1, 0), picture(sop, 3, 2))
    assert audit("sop", sop, threads=1) == audit("sop", sop, threads=3)
    image = Image.open(picture(sop, 2, 0)).convert("RGB")
    buffer = io.BytesIO()
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
    turned.save(buffer, "PNG", exif=exif)
    limits = ImageLimits()
    upright = take_fingerprint(picture(sop, 2, 0).read_bytes(), limits)
    assert take_fingerprint(buffer.getvalue(), limits).pixels == upright.pixels
