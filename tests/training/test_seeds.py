from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

import crossmatch
from index.errors import UsageError
from tests.drawn_pictures import write_drawn_pictures
from training import seeds
from training.config import Config
from training.seeds import train_seeds

CONFIG = """
data: {name: folder, root: ROOT, holdout: 0.34}
model: {backbone: test_efficientnet, weights: none}
augmentation: {input_size: 32, resize: 36}
train: {epochs: 1, batch_size: 8, seed: 5, device: cpu, loader_threads: 1}
"""


def test_two_seeds_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = write_drawn_pictures(tmp_path / "pictures")
    config, output = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(CONFIG.replace("ROOT", str(pictures)), encoding="utf-8")
    assert crossmatch.run(["train", str(config), "--output", str(output), "--seeds", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in output.iterdir()) == ["report.html", "seed-5", "seed-6", "seeds.json"]
    assert json.loads((output / "seeds.json").read_text(encoding="utf-8")) == printed
    assert printed["seeds"] == [5, 6]
    first, second = printed["runs"]
    assert first["model"] != second["model"]
    for part in ("held_out", "seen"):
        values = [run[part]["self"]["map_at_r"] for run in (first, second)]
        figure = printed["summary"][part]["self"]["map_at_r"]
        assert figure["values"] == pytest.approx(values)
        assert figure["mean"] == pytest.approx(fmean(values))
        assert figure["deviation"] == pytest.approx(stdev(values))
        assert figure["low"] - 1e-9 <= figure["mean"] <= figure["high"] + 1e-9
        assert set(printed["summary"][part]["self"]) == {f"recall@{k}" for k in (1, 2, 4, 8, 10)} | {"map_at_r"}
    page = (output / "report.html").read_text(encoding="utf-8")
    assert 'href="seed-5/report.html"' in page
    assert (output / "seed-6" / "report.html").exists()
    assert "<script" not in page


def test_a_single_run_s_folder_is_not_taken(tmp_path: Path, make_config: Callable[..., Config]) -> None:
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(UsageError, match=r"checkpoint\.pt: the output is in the way"):
        train_seeds(make_config(), tmp_path, 2)


def test_an_interrupted_seed_leaves_no_summary(
    tmp_path: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def stop(config: Config, output: Path) -> Any:
        asked.append(config.train.seed)
        output.mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(seeds, "train_bundle", stop)
    with pytest.raises(KeyboardInterrupt):
        train_seeds(make_config(), tmp_path / "run", 3)
    assert asked == [0]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["seed-0"]


def test_torchrun_takes_one_seed_at_a_time(
    tmp_path: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="several seeds under torchrun"):
        train_seeds(make_config(), tmp_path / "run", 2)
