from pathlib import Path
from typing import Any

import pytest

from index.errors import SourceError, UsageError
from index.sources import SourcePicture
from training.config import DataConfig
from training.data import choose_held_out, data_digest, read_training_set

GROCERY = Path(__file__).resolve().parents[3] / "shared" / "data" / "grocery"
NAMES = [f"class {number}" for number in range(40)]


def test_numbers_are_given_to_the_training_classes_alone(drawn_pictures: Path) -> None:
    data = read_training_set(DataConfig("folder", str(drawn_pictures), holdout=0.34))
    assert len(data.held_out_classes) == 2
    assert sorted(set(data.labels)) == list(range(4))  # no dead output
    assert [data.classes[number] for number in data.labels] == [picture.label for picture in data.pictures]
    assert {picture.label for picture in data.held_out} == set(data.held_out_classes)
    assert not set(data.classes) & set(data.held_out_classes)
    assert len(data.pictures) + len(data.held_out) == 24


def test_the_seed_chooses_the_held_out_classes() -> None:
    assert choose_held_out(NAMES, 0.25, 1) == choose_held_out(NAMES, 0.25, 1)
    assert choose_held_out(NAMES, 0.25, 1) != choose_held_out(NAMES, 0.25, 2)
    assert len(choose_held_out(NAMES, 0.25, 1)) == 10
    assert len(choose_held_out(NAMES, 0.001, 1)) == 2
    assert choose_held_out(NAMES, 0.0, 1) == ()


def test_too_few_classes_to_hold_out() -> None:
    with pytest.raises(UsageError, match="too few classes to hold some out"):
        choose_held_out(NAMES[:3], 0.5, 0)


@pytest.mark.parametrize("name", ["folder", "grocery"])
def test_a_root_that_is_not_there_is_named_as_training_names_it(tmp_path: Path, name: Any) -> None:
    with pytest.raises(SourceError, match=r"data\.root") as caught:
        read_training_set(DataConfig(name, str(tmp_path / "nowhere")))
    assert "--root" not in str(caught.value)


def test_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path,label\nx.png,warm\ny.png,cold\n", encoding="utf-8")
    data = read_training_set(DataConfig("manifest", str(path)))
    assert (data.classes, data.labels) == (("cold", "warm"), [1, 0])


def test_a_picture_without_a_class(drawn_pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((drawn_pictures / "red" / "red-0.png").read_bytes())
    with pytest.raises(SourceError, match=r"a\.png: the picture has no label"):
        read_training_set(DataConfig("folder", str(tmp_path)))


def test_one_class_is_no_classification(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path,label\nred/0.png,red\n", encoding="utf-8")
    with pytest.raises(SourceError, match="too few classes to train on"):
        read_training_set(DataConfig("manifest", str(path)))


@pytest.mark.parametrize("name", ["folder", "manifest"])
def test_the_kind_and_the_path_must_agree(drawn_pictures: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "list.csv"
    file.write_text("path\nx.png\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"not a (folder|manifest)"):
        read_training_set(DataConfig(name, str(file if name == "folder" else drawn_pictures)))  # type: ignore[arg-type]


def test_the_digest_hangs_on_keys_contents_and_labels_and_not_on_their_order() -> None:
    one, two = SourcePicture("a", "x", Path("a")), SourcePicture("b", "y", Path("b"))
    digest = data_digest([one, two], ["1", "2"])
    assert digest == data_digest([two, one], ["2", "1"])
    changed = [
        data_digest([one, two], ["1", "3"]),
        data_digest([one, SourcePicture("b", "x", Path("b"))], ["1", "2"]),
        data_digest([one, SourcePicture("c", "y", Path("b"))], ["1", "2"]),
    ]
    assert digest not in changed


@pytest.mark.grocery
@pytest.mark.skipif(not GROCERY.is_dir(), reason="../shared has no Grocery photographs")
def test_grocery_trains_on_the_even_classes() -> None:
    data = read_training_set(DataConfig("grocery", str(GROCERY)))
    assert (len(data.pictures), len(data.classes)) == (2781, 41)
