"""The four benchmarks in their original layouts: which pictures train, ask and are searched, and what does not fit."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from index.datasets import DATASETS, cars, read_protocol, read_training_pictures
from index.errors import SourceError, UsageError
from tests.miniature_sets import MINIATURES, write_cars_kit

NAMES = ("cub", "cars", "sop", "inshop")


@pytest.mark.parametrize("name", NAMES)
def test_the_first_classes_train_and_the_others_test(tmp_path: Path, name: str) -> None:
    root = MINIATURES[name](tmp_path)
    training, test = read_training_pictures(name, root), read_protocol(name, root)
    assert test.name == "test"
    assert len({picture.label for picture in training}) == 2
    assert set(Counter(picture.label for picture in training).values()) == {4}
    searched = {picture.key: picture for picture in (*test.queries, *test.gallery)}
    assert len({picture.label for picture in searched.values()}) == 2
    assert not {picture.label for picture in training} & {picture.label for picture in searched.values()}
    assert len(searched) == 8
    assert all(picture.path.is_file() for picture in (*training, *searched.values()))
    assert read_protocol(name, root, "train").queries == training
    if name == "inshop":
        assert not {picture.key for picture in test.queries} & {picture.key for picture in test.gallery}
    else:
        assert test.queries == test.gallery
        assert len(read_protocol(name, root, "all").gallery) == 16


def test_the_papers_recall_ks() -> None:
    ks = {name: DATASETS[name].ks for name in NAMES}
    assert ks["cub"] == ks["cars"] == (1, 2, 4, 8, 16, 32)
    assert ks["sop"] == (1, 10, 100, 1000)
    assert ks["inshop"] == (1, 10, 20, 30, 40, 50)


@pytest.mark.parametrize("name", ["cub", "sop", "inshop"])
def test_the_archives_own_folder_is_a_root_too(tmp_path: Path, name: str) -> None:
    root = MINIATURES[name](tmp_path)
    [own] = [path for path in root.iterdir() if path.is_dir()]
    assert read_training_pictures(name, own) == read_training_pictures(name, root)


def test_both_layouts_of_cars_and_the_list_say_the_same(tmp_path: Path) -> None:
    whole = MINIATURES["cars"](tmp_path / "whole")
    kit = write_cars_kit(tmp_path / "kit")
    assert cars.read_cars(whole)[4] == cars.Car("car_ims/000005.jpg", 2, "Green Sedan 2012")
    assert {(car.path, car.name) for car in cars.read_cars(kit)} >= {
        ("cars_train/00001.jpg", "Red Sedan 2012"),
        ("cars_test/00008.jpg", "Yellow Sedan 2012"),
    }
    assert [picture.label for picture in read_training_pictures("cars", kit)].count("001 Red Sedan 2012") == 4
    for root in (whole, kit):
        before = read_protocol("cars", root)
        cars.write_list(root)
        for file in root.rglob("*.mat"):
            file.unlink()
        assert read_protocol("cars", root) == before


def test_without_scipy_the_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = MINIATURES["cars"](tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(UsageError, match=r"cars_annos\.mat: MATLAB files need scipy .*\[data\]"):
        read_protocol("cars", root)


def test_scipy_is_loaded_for_matlab_alone() -> None:
    code = "import sys, index.datasets; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
    assert importlib.import_module("index.datasets.matlab")


def test_test_annotations_without_labels_are_refused(tmp_path: Path) -> None:
    root = write_cars_kit(tmp_path)
    rows = np.empty((1, 1), dtype=[("bbox_x1", object), ("fname", object)])
    rows[0, 0] = (1, "00001.jpg")
    scipy.io.savemat(root / "cars_test_annos_withlabels.mat", {"annotations": rows})
    with pytest.raises(SourceError, match="take the one with labels"):
        read_protocol("cars", root)
    (root / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(SourceError, match=r"no such file .*with labels"):
        read_protocol("cars", root)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


CUB, SOP = "CUB_200_2011", "Stanford_Online_Products"
INSHOP = "In-shop Clothes Retrieval Benchmark/Eval/list_eval_partition.txt"


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "text"),
    [
        ("cub", f"{CUB}/images.txt", "1 001", "1 extra 001", r"images\.txt:1: the line does not fit"),
        ("cub", f"{CUB}/images.txt", "001.Red_Bird", "../..", r"images\.txt:1: a path that leads out"),
        ("cub", f"{CUB}/image_class_labels.txt", "1 1\n", "", r"images\.txt:1: picture 1 has no class"),
        ("cub", f"{CUB}/image_class_labels.txt", "1 1\n", "1 x\n", r"labels\.txt:1: not a number"),
        ("cub", f"{CUB}/image_class_labels.txt", "1 1\n", "1 9\n", r"images\.txt:1: picture 1 has no class"),
        ("sop", f"{SOP}/Ebay_train.txt", "class_id", "klass", r"Ebay_train\.txt:1: the line does not fit"),
        ("sop", f"{SOP}/Ebay_test.txt", "9 3 1", "9 3", r"Ebay_test\.txt:2: the line does not fit"),
        ("sop", f"{SOP}/Ebay_test.txt", "bicycle_final", "/etc", r"Ebay_test\.txt:2: a path that leads out"),
        ("inshop", INSHOP, "item_id", "item", r"partition\.txt:2: the line does not fit"),
        ("inshop", INSHOP, " query", " asks", "no such status .*train or query or gallery.*'asks'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, file: str, old: str, new: str, text: str) -> None:
    root = MINIATURES[name](tmp_path)
    rewrite(root / file, old, new)
    with pytest.raises(SourceError, match=text):
        read_protocol(name, root)


@pytest.mark.parametrize("name", NAMES)
def test_another_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"not .*crossmatch data prepare"):
        read_protocol(name, tmp_path)
    with pytest.raises(SourceError, match="no such folder"):
        read_training_pictures(name, tmp_path / "nothing")


def test_annotations_that_are_none(tmp_path: Path) -> None:
    for content, text in ((b"no MATLAB at all", "can not be read as MATLAB"), (b"", "can not be read as MATLAB")):
        (tmp_path / "cars_annos.mat").write_bytes(content)
        with pytest.raises(SourceError, match=text):
            read_protocol("cars", tmp_path)
    scipy.io.savemat(tmp_path / "cars_annos.mat", {"other": 1})
    with pytest.raises(SourceError, match="there is no `annotations`"):
        read_protocol("cars", tmp_path)
    (tmp_path / "annotations.csv").write_text("path,class\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"annotations\.csv: can not be read"):
        read_protocol("cars", tmp_path)
