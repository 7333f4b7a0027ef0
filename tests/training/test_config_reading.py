from dataclasses import replace
from pathlib import Path

import pytest

from index.errors import UsageError
from training.config_reading import all_keys, read_config

CONFIGS = Path(__file__).parents[2] / "configs"
DOCS = Path(__file__).parents[2] / "docs" / "training.md"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("data: {name: folder, root: pictures}\ntrain:\n  epochs: 3\nloss:\n", encoding="utf-8")
    return path


def test_the_file_and_then_the_words(config_file: Path) -> None:
    config = read_config(config_file, ["train.epochs=5", "augmentation.jitter=[0, 0, 0, 0]", "data.root=a=b"])
    assert (config.train.epochs, config.augmentation.jitter, config.data.root) == (5, (0.0,) * 4, "a=b")
    assert config.train.batch_size == 128  # the default


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("5E-4", 0.0005), ("1", 1.0), (".5", 0.5)])
def test_numbers_as_people_write_them(config_file: Path, text: str, value: float) -> None:
    assert read_config(config_file, [f"optimiser.learning_rate={text}"]).optimiser.learning_rate == value


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("train.epoch=2", "no such key `train.epoch`; did you mean `train.epochs`?"),
        ("optimizer.momentum=0.5", "no such section `optimizer`; did you mean `optimiser`?"),
        ("train.epochs=many", "`train.epochs` does not fit"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("train.epochs=1.5", "`train.epochs` does not fit"),
        ("train.precision=float8", "`train.precision` does not fit"),
        ("augmentation.crop_area=[0.5, 0.2]", "crop_area must be two rising shares"),
        ("augmentation.jitter=[1]", "`augmentation.jitter"),
        ("model.pretrained_share=[", "can not be read as YAML"),
        ("epochs=2", "expected section.key=value"),
        ("train.epochs", "expected section.key=value"),
        (
            "train.epochs=0",
            "must be greater than or equal to 1 (found 0); set it in the file, or say train.epochs=VALUE after it",
        ),
        ("augmentation.crop_area=[0.5, 0.2]", "found (0.5, 0.2)"),
    ],
)
def test_a_wrong_word_is_named(config_file: Path, word: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(config_file, [word])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {epochs: 3}", "`data` is not set"),
        ("data: {name: folder}", "`data.root` is not set"),
        ("data: {name: folder, root: x, holdot: 0.2}", "did you mean `data.holdout`?"),
        ("- 1", "holds no sections"),
        ("data: 3", "section `data` holds no keys"),
        ("a: [", "can not be read"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert says in str(caught.value)
    assert "bad.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ("model.weights=none", "model.pretrained_share=0"),
        ("loss.name=contrastive", "loss.smoothing=null"),
        ("optimiser.name=adamw", "optimiser.momentum=null"),
        ("optimiser.momentum=0", "optimiser.nesterov=false"),
    ],
)
def test_two_words_that_do_not_go_together_name_the_one_to_change(wrong: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(CONFIGS / "grocery.yaml", [wrong])
    line = str(caught.value)
    assert f"say {remedy}" in line
    assert not any(words in line for words in ("Value error", "=VALUE", "{"))
    said = [remedy]
    if wrong == "optimiser.name=adamw":  # which takes no Nesterov either
        said.append("optimiser.nesterov=null")
    read_config(CONFIGS / "grocery.yaml", [wrong, *said])


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_that_is_shipped_can_be_read(path: Path) -> None:
    config = read_config(path)
    assert config.data.holdout == (0.25 if config.data.name == "folder" else 0)


def test_the_configuration_for_folders_is_grocerys_but_for_the_batch() -> None:
    folder, grocery = (read_config(CONFIGS / f"{name}.yaml") for name in ("folder", "grocery"))
    assert replace(folder, data=grocery.data, train=replace(folder.train, batch_size=64)) == grocery
    assert folder.train.batch_size == 16


def test_every_key_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [key for key in all_keys() if f"`{key}`" not in text] == []
