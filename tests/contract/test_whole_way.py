"""The whole way through, as a user goes it: train, verify, evaluate, index, serve, search, each as a process."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.bundle import Bundle
from index.datasets import grocery
from index.encoder import Encoder
from index.searcher import Searcher, search_picture
from tests.drawn_pictures import write_drawn_pictures
from tests.service.live_service import Started, run_crossmatch, search, serve

NEEDED = ("torch", "torchvision", "timm", "safetensors", "onnxscript", "yaml")
MISSING = [name for name in NEEDED if find_spec(name) is None]
GROCERY = Path(__file__).parents[3] / "shared" / "data" / "grocery"
CONFIG = """
data: {name: folder, root: set on the command line}
model: {backbone: test_resnet, weights: none}
augmentation: {input_size: 48, resize: 54, crop_area: [0.8, 1.0]}
train: {epochs: 9, batch_size: 12, device: cpu}
"""


@dataclass(frozen=True)
class Way:
    """What each step left, and what it said."""

    pictures: Path
    run: Path
    trained: dict[str, Any]
    index: Path
    built: dict[str, Any]

    @property
    def bundle(self) -> Path:
        return self.run / "bundle"


def ask(*arguments: object) -> dict[str, Any]:
    """What a command answers as JSON. Fails unless it succeeds and prints nothing else."""
    code, out, err = run_crossmatch(*arguments, "--json", seconds=300)
    assert code == 0, err
    assert "Traceback" not in err
    answer: dict[str, Any] = json.loads(out)
    return answer


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    """Trained for an epoch on drawn pictures, and indexed. Read only."""
    if MISSING:
        pytest.skip(f"training needs `pip install '.[training]'`: no {', '.join(MISSING)}")
    folder = tmp_path_factory.mktemp("way")
    pictures = write_drawn_pictures(folder / "pictures", per_label=6)
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    run, index = folder / "run", folder / "pictures.index"
    # The override is the command line's to apply: the file says nine epochs, and names no folder that is there.
    trained = ask("train", config, f"data.root={pictures}", "train.epochs=1", "--output", run)
    built = ask("index", "build", pictures, "--model", run / "bundle", "--index", index)
    return Way(pictures, run, trained, index, built)


@pytest.fixture(scope="module")
def service(way: Way, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with serve(way.index, tmp_path_factory.mktemp("service") / "log") as started:
        yield started


def test_training_leaves_a_bundle_that_verifies(way: Way) -> None:
    assert way.trained["epochs"] == 1
    assert {"bundle", "metrics.jsonl", "checkpoint.pt"} <= {path.name for path in way.run.iterdir()}
    verified = ask("model", "verify", way.bundle)
    assert verified["golden_cosine"] >= 0.9999
    manifest = json.loads((way.bundle / "manifest.json").read_text())
    assert manifest["model_id"] == way.trained["model"]
    assert (manifest["training"]["pictures"], manifest["training"]["config"]["train"]["epochs"]) == (36, 1)
    assert manifest["preprocessing"]["input_size"] == 48


def test_the_index_holds_every_picture_under_the_trained_model(way: Way) -> None:
    info = ask("index", "info", "--index", way.index)
    assert (info["size"], info["model"], info["recall"]) == (36, way.trained["model"], 1.0)
    assert (way.built["added"], way.built["skipped"]) == (36, [])


def test_http_answers_what_the_command_line_answers(way: Way, service: Started) -> None:
    pictures = sorted(way.pictures.rglob("*.*g"))[::9]
    with httpx.Client(base_url=service.url, timeout=30) as client:
        for picture in pictures:
            expected = ask("search", picture, "--index", way.index, "-k", 36)
            assert expected.pop("took_ms") > 0
            assert search(client, picture.read_bytes(), 36) == expected
            assert expected["results"][0]["key"] == picture.relative_to(way.pictures).as_posix()
            assert expected["index"]["model"] == way.trained["model"]


def test_recall_over_http_is_what_evaluate_measured(way: Way, service: Started) -> None:
    measured = ask("evaluate", "--model", way.bundle, "--data", "folder", "--root", way.pictures)
    hits = 0
    with httpx.Client(base_url=service.url, timeout=30) as client:
        for picture in way.pictures.rglob("*.*g"):
            key = picture.relative_to(way.pictures).as_posix()
            others = [each for each in search(client, picture.read_bytes(), 2)["results"] if each["key"] != key]
            hits += others[0]["label"] == picture.parent.name
    assert (measured["queries"], measured["gallery"]) == (36, 36)
    assert measured["recall"]["1"] == pytest.approx(hits / 36, abs=1e-9)


def test_the_service_of_a_trained_model_needs_no_torch(service: Started) -> None:
    assert "torch" not in Path(f"/proc/{service.process.pid}/maps").read_text()


@pytest.mark.grocery
@pytest.mark.skipif(not GROCERY.is_dir(), reason=f"no photographs in {GROCERY}")
def test_photographs_over_http_are_answered_as_by_the_function(tmp_path: Path, tiny_bundle: Bundle) -> None:
    shelf = grocery.read_protocol(GROCERY, "shelf")
    gallery = shelf.gallery[:: len(shelf.gallery) // 100]
    queries = shelf.queries[:: len(shelf.queries) // 20][:20]
    with (tmp_path / "shelf.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "key"))
        rows.writerows((picture.path, picture.label, picture.key) for picture in gallery)
    index = tmp_path / "shelf.index"
    built = ask("index", "build", tmp_path / "shelf.csv", "--model", tiny_bundle.folder, "--index", index)
    assert (built["added"], built["skipped"]) == (len(gallery), [])
    encoder = Encoder(tiny_bundle)
    with (
        serve(index, tmp_path / "log") as started,
        httpx.Client(base_url=started.url, timeout=30) as client,
        Searcher(index) as searcher,
    ):
        for query in queries:
            data = query.path.read_bytes()
            expected = search_picture(searcher, encoder, data, 50).to_json(0.0)
            del expected["took_ms"]
            assert search(client, data, 50) == expected
