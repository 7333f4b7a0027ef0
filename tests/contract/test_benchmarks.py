"""The four benchmarks the whole way through: an archive in its original layout -> prepare -> train -> evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import crossmatch
from tests.miniature_sets import MINIATURES, pack_tgz

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["model.backbone=test_resnet", "model.weights=none", "data.cache_gib=0.1", "train.epochs=1"]
SMALL += ["augmentation.input_size=32", "augmentation.resize=36", "evaluation.resize=36", "train.batch_size=8"]
SMALL += ["train.device=cpu"]
KS = {"cub": ["1", "2", "4", "8", "16", "32"], "sop": ["1", "10", "100", "1000"]}
KS |= {"cars": KS["cub"], "inshop": ["1", "10", "20", "30", "40", "50"]}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A tiny model's threads would only wait for each other."""
    torch.set_num_threads(1)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    code = crossmatch.run([str(word) for word in words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found: dict[str, object] = json.loads(captured.out)
    return found


@pytest.mark.parametrize("name", KS)
def test_from_an_archive_to_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    archive = pack_tgz(MINIATURES[name](tmp_path / "original"), tmp_path / "archive.tgz")
    root, output = tmp_path / name, tmp_path / "run"
    prepared = run(capsys, "data", "prepare", name, "--root", root, "--archive", archive, "--subset", "--json")
    assert (prepared["pictures"], prepared["training_classes"], prepared["official"]) == (16, 2, False)
    config = [CONFIGS / f"{name}.yaml", f"data.root={root}", *SMALL]
    trained = run(capsys, "train", *config, "--output", output, "--json")
    figures = run(capsys, "evaluate", "--model", trained["bundle"], "--data", name, "--root", root, "--json")
    assert figures["model"] == trained["model"]
    assert (figures["data"], figures["protocol"]) == (name, "test")
    assert (figures["queries"], figures["gallery"]) == ((4, 4) if name == "inshop" else (8, 8))
    recall = figures["recall"]
    assert isinstance(recall, dict)
    assert list(recall) == KS[name]
    assert recall[KS[name][-1]] == 1.0
