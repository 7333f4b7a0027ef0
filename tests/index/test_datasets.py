"""Data sets read as protocols: which pictures, which labels, and what is said when files do not fit."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from index.datasets import DATASETS, Protocol, grocery, read_protocol, read_training_pictures
from index.errors import SourceError
from index.sources import SourcePicture

GROCERY = Path(__file__).resolve().parents[3] / "shared" / "data" / "grocery"
needs_grocery = pytest.mark.skipif(not GROCERY.is_dir(), reason="../shared has no Grocery photographs")


def keys(pictures: tuple[SourcePicture, ...]) -> list[str]:
    return [picture.key for picture in pictures]


@pytest.fixture
def small_grocery(tmp_path: Path) -> Path:
    """Four classes in Grocery's own file format; the pictures need not be there to be listed."""
    names = ("Apple", "Pear", "Lime", "Kiwi")
    rows = [f"{name},{i},Fruit,0,/iconic/{name}.jpg,/iconic/{name}.txt" for i, name in enumerate(names)]
    header = "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
    header += "Iconic Image Path (str),Product Description Path (str)"
    (tmp_path / "classes.csv").write_text("\n".join([header, *rows]))
    for part in ("train", "val", "test"):
        lines = [f"{part}/{name}.jpg, {i}, 0" for i, name in enumerate(names)]
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_grocery_protocols(small_grocery: Path) -> None:
    shelf = read_protocol("grocery", small_grocery, "shelf")
    assert shelf.name == "shelf"
    assert keys(shelf.queries) == ["test/Pear.jpg", "test/Kiwi.jpg"]
    assert keys(shelf.gallery) == ["train/Pear.jpg", "train/Kiwi.jpg"]
    assert [picture.label for picture in shelf.queries] == ["Pear", "Kiwi"]
    assert shelf.queries[0].path == small_grocery / "test" / "Pear.jpg"
    catalogue = read_protocol("grocery", small_grocery, "catalogue")
    assert catalogue.queries == shelf.queries
    assert keys(catalogue.gallery) == ["iconic/Pear.jpg", "iconic/Kiwi.jpg"]
    assert catalogue.gallery[1].path == small_grocery / "iconic" / "Kiwi.jpg"
    everything = read_protocol("grocery", small_grocery, "self")
    assert everything.queries == everything.gallery
    assert len(everything.queries) == 6
    assert read_protocol("grocery", small_grocery) == shelf


def test_grocery_training_pictures_are_of_the_other_classes(small_grocery: Path) -> None:
    pictures = grocery.read_training_pictures(small_grocery)
    assert [(picture.key, picture.label) for picture in pictures] == [
        (f"{part}/{name}.jpg", name) for part in ("train", "val", "test") for name in ("Apple", "Lime")
    ]
    assert keys(grocery.read_training_pictures(small_grocery, classes={2})) == [
        f"{part}/Lime.jpg" for part in ("train", "val", "test")
    ]


def test_grocery_protocols_on_chosen_classes(small_grocery: Path) -> None:
    held_out = {name: grocery.read_protocol(small_grocery, name, classes={2}) for name in grocery.PROTOCOLS}
    assert keys(held_out["shelf"].queries) == ["test/Lime.jpg"]
    assert keys(held_out["shelf"].gallery) == ["train/Lime.jpg"]
    assert keys(held_out["catalogue"].gallery) == ["iconic/Lime.jpg"]
    assert len(held_out["self"].gallery) == 3
    with pytest.raises(SourceError, match="no such class as 9"):
        grocery.read_protocol(small_grocery, "shelf", classes={2, 9})


def test_grocery_says_what_is_missing(small_grocery: Path, tmp_path: Path) -> None:
    (small_grocery / "train.txt").unlink()
    with pytest.raises(SourceError, match=r"train\.txt: not the Grocery Store data set .*no such file.*--root"):
        read_protocol("grocery", small_grocery, "shelf")
    with pytest.raises(SourceError, match=r"nothing.classes\.csv"):
        read_protocol("grocery", tmp_path / "nothing", "shelf")


@pytest.mark.parametrize("line", ["test/Pear.jpg", "test/Pear.jpg, one, 0", ", 1, 0", "", "a,b, 1, 0"])
def test_grocery_says_which_line_does_not_fit(small_grocery: Path, line: str) -> None:
    (small_grocery / "test.txt").write_text(f"test/Kiwi.jpg, 3, 0\n{line}\n")
    with pytest.raises(SourceError, match=r"test\.txt:2: the line does not fit"):
        read_protocol("grocery", small_grocery, "shelf")


HEADER = "Class Name (str),Class ID (int),Iconic Image Path (str)\n"


@pytest.mark.parametrize(
    "text", ["", "name,id\nApple,0\n", HEADER, HEADER + "Apple,0\n", HEADER + "Apple\n", HEADER + "Apple,x,/a.jpg\n"]
)
def test_grocery_says_that_classes_do_not_fit(small_grocery: Path, text: str) -> None:
    (small_grocery / "classes.csv").write_text(text)
    with pytest.raises(SourceError, match=r"classes\.csv: does not list the classes"):
        read_protocol("grocery", small_grocery, "shelf")


@pytest.mark.grocery
@needs_grocery
def test_grocery_itself() -> None:
    """The counts of the data's own README; every listed file is there, and no test class is trained on."""
    shelf, catalogue, everything = (read_protocol("grocery", GROCERY, name) for name in grocery.PROTOCOLS)
    training = grocery.read_training_pictures(GROCERY)
    assert (len(shelf.queries), len(catalogue.gallery), len(everything.gallery)) == (1197, 40, 2640)
    assert shelf.queries == catalogue.queries
    assert (len(training), len({picture.label for picture in training})) == (2781, 41)
    tested = {picture.label for picture in everything.gallery}
    assert len(tested) == 40
    assert tested == {picture.label for picture in catalogue.gallery}
    assert not tested & {picture.label for picture in training}
    assert all(picture.path.is_file() for picture in (*training, *everything.gallery, *catalogue.gallery))


def test_folder(drawn_pictures: Path) -> None:
    protocol = read_protocol("folder", drawn_pictures)
    assert protocol.name == "self"
    assert protocol.queries == protocol.gallery
    labels = Counter(picture.label for picture in protocol.gallery)
    assert len(labels) == 6
    assert set(labels.values()) == {4}


def test_folder_needs_a_label_for_each_picture(own_pictures: Path) -> None:
    (own_pictures / "stray.png").write_bytes(b"never opened")
    with pytest.raises(SourceError, match=r"stray\.png: the picture has no label .*found 1 without"):
        read_protocol("folder", own_pictures)


def test_folder_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.jpg,a\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"found a file.*the data set `manifest`"):
        read_protocol("folder", tmp_path / "list.csv")
    with pytest.raises(SourceError, match="nothing there"):
        read_protocol("folder", tmp_path / "missing")
    with pytest.raises(SourceError, match="holds no picture"):
        read_protocol("folder", tmp_path / "empty")


def write_csv(folder: Path, *lines: str) -> Path:
    path = folder / "pictures.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_manifest_without_split(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "path,label", "a.jpg,x", "b.jpg,x")
    protocol = read_protocol("manifest", path)
    assert protocol.name == "self"
    assert protocol.queries == protocol.gallery
    assert keys(protocol.queries) == ["a.jpg", "b.jpg"]
    with pytest.raises(SourceError, match="no such column"):
        read_protocol("manifest", path, "split")


def test_manifest_with_split(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "path,label,split", "a.jpg,x,query", "b.jpg,x,gallery", "c.jpg,y,gallery")
    protocol = read_protocol("manifest", path)
    assert protocol.name == "split"
    assert keys(protocol.queries) == ["a.jpg"]
    assert keys(protocol.gallery) == ["b.jpg", "c.jpg"]
    assert len(read_protocol("manifest", path, "self").queries) == 3


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("path,label,split", "a.jpg,x,query", "b.jpg,x,trian"), r"does not fit for b\.jpg .*'trian'.*--protocol self"),
        (("path,label,split", "a.jpg,x,query"), "the gallery of the protocol split"),
        (("path,label,split", "a.jpg,x,gallery"), "the queries of the protocol split"),
        (("path,label", "a.jpg,x", "b.jpg,"), r"b\.jpg: .* no label"),
        (("path", "a.jpg"), r"a\.jpg: .* no label"),
        (("path,label",), "holds no picture"),
    ],
)
def test_manifest_that_does_not_fit(tmp_path: Path, lines: tuple[str, ...], text: str) -> None:
    with pytest.raises(SourceError, match=text):
        read_protocol("manifest", write_csv(tmp_path, *lines))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_manifest_may_hold_a_whole_data_set(tmp_path: Path, suffix: str) -> None:
    rows = [("a.jpg", "x", "train"), ("b.jpg", "y", "train"), ("c.jpg", "z", "query"), ("d.jpg", "z", "gallery")]
    path = tmp_path / f"pictures.{suffix}"
    if suffix == "csv":
        write_csv(tmp_path, "path,label,split", *map(",".join, rows))
    elif suffix == "jsonl":
        names = ("path", "label", "split")
        path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows), encoding="utf-8")
    else:
        columns = dict(zip(("path", "label", "split"), zip(*rows, strict=True), strict=True))
        parquet.write_table(pyarrow.table(columns), path)
    assert keys(read_training_pictures("manifest", path)) == ["a.jpg", "b.jpg"]
    protocol = read_protocol("manifest", path)
    assert (keys(protocol.queries), keys(protocol.gallery)) == (["c.jpg"], ["d.jpg"])


def test_a_manifest_without_rows_to_train_on(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "path,label,split", "a.jpg,x,query", "b.jpg,x,gallery")
    with pytest.raises(SourceError, match="no row is there to train on"):
        read_training_pictures("manifest", path)
    path = write_csv(tmp_path, "path,label", "a.jpg,x", "b.jpg,y")
    assert keys(read_training_pictures("manifest", path)) == ["a.jpg", "b.jpg"]


def test_manifest_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"found a folder.*the data set `folder`"):
        read_protocol("manifest", tmp_path)
    with pytest.raises(SourceError, match="no such source"):
        read_protocol("manifest", tmp_path / "missing.csv")


def test_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError,
        match=r"groceries: no such data set .*grocery or cub or cars or sop or inshop or folder or manifest",
    ):
        read_protocol("groceries", tmp_path)
    with pytest.raises(SourceError, match=r"shelve: grocery has no such protocol .*shelf or catalogue or self"):
        read_protocol("grocery", tmp_path, "shelve")


def test_names_are_their_own() -> None:
    assert {name: dataset.name for name, dataset in DATASETS.items()} == {name: name for name in DATASETS}


def test_protocol_lists_a_picture_once() -> None:
    picture = SourcePicture("a", "x", Path("a.jpg"))
    assert Protocol("p", (picture,), (picture,)).queries == (picture,)
    with pytest.raises(SourceError, match="a: the key is listed twice"):
        Protocol("p", (picture,), (picture, picture))
