"""Vectors made elsewhere: every way of giving them says the same, and what does not fit is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from sklearn.metrics import pairwise_distances

import crossmatch
from index.errors import SourceError, VectorError
from index.foreign_vectors import label_sides, read_foreign, read_labels
from index.types import Vectors


@pytest.fixture
def vectors() -> Vectors:
    """40 vectors of all lengths, 5 in each of 8 classes that overlap."""
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(8, 6)), 5, axis=0) + random.normal(size=(40, 6))
    return (rows * random.uniform(0.5, 2, (40, 1))).astype(np.float32)


LABELS = [f"class {number // 5}" for number in range(40)]


def write_labels(path: Path, labels: list[str]) -> Path:
    if path.suffix == ".npy":
        np.save(path, np.array(labels))
    else:
        head = ["id,label"] if path.name == "two.csv" else ["label"] if path.suffix == ".csv" else []
        rows = [f"{row},{label}" if path.name == "two.csv" else label for row, label in enumerate(labels)]
        path.write_text("\n".join(head + rows) + "\n", encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code = crossmatch.run(["evaluate", *(str(word) for word in words), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    return found


def rank_slowly(vectors: Vectors, metric: str) -> dict[str, float]:
    """recall@1, recall@3, MAP@R and mAP by scikit-learn's distances and plain loops."""
    distances = pairwise_distances(vectors.astype(np.float64), metric=metric)
    firsts, at_r, full = [], [], []
    for row in range(len(vectors)):
        order = [place for place in np.argsort(distances[row], kind="stable") if place != row]
        right = [LABELS[place] == LABELS[row] for place in order]
        firsts.append(right.index(True) + 1)
        precisions = [sum(right[: rank + 1]) / (rank + 1) for rank in range(len(right)) if right[rank]]
        full.append(np.mean(precisions))
        at_r.append(sum(sum(right[: rank + 1]) / (rank + 1) for rank in range(4) if right[rank]) / 4)
    recalls = {f"recall@{k}": float(np.mean([first <= k for first in firsts])) for k in (1, 3)}
    return {**recalls, "map_at_r": float(np.mean(at_r)), "map": float(np.mean(full))}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("labels", ["y.npy", "y.txt", "y.csv", "two.csv"])
def test_figures_against_slow_ones(
    tmp_path: Path, vectors: Vectors, metric: str, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", vectors)
    words = ["--embeddings", tmp_path / "x.npy", "--labels", write_labels(tmp_path / labels, LABELS)]
    found = run(capsys, *words, "--metric", metric, "-k", 1, "-k", 3, "--full", "--cmc", 5, "--clusterings", 2)
    expected = rank_slowly(vectors, metric)
    assert found["recall"] == pytest.approx({"1": expected["recall@1"], "3": expected["recall@3"]})
    assert found["map_at_r"] == pytest.approx(expected["map_at_r"])
    assert found["mean_average_precision"] == pytest.approx(expected["map"])
    assert found["precision_at_1"] == found["cmc"][0] == found["recall"]["1"]
    assert found["cmc"][2] == found["recall"]["3"]
    assert (len(found["cmc"]), found["clustering"]["clusters"]) == (5, 8)
    assert 0 < found["clustering"]["ami"] < found["clustering"]["nmi"] < 1
    assert (found["queries"], found["model"], found["protocol"]) == (40, None, "self")


def test_what_embed_writes(tmp_path: Path, vectors: Vectors, capsys: pytest.CaptureFixture[str]) -> None:
    """Parquet with keys and labels, npy with a JSONL file beside it, and labels given apart."""
    keys = [f"{row}.jpg" for row in range(40)]
    columns = {"key": keys, "label": LABELS, "vector": pyarrow.array(list(vectors))}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    np.save(tmp_path / "x.npy", vectors)
    lines = [json.dumps({"key": key, "label": label}) for key, label in zip(keys, LABELS, strict=True)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    labels = write_labels(tmp_path / "y.txt", LABELS)
    found = [run(capsys, "--embeddings", tmp_path / name) for name in ("x.parquet", "x.npy")]
    found.append(run(capsys, "--embeddings", tmp_path / "x.parquet", "--labels", labels))
    assert len({json.dumps({**one, "data": None}) for one in found}) == 1


def test_queries_apart(tmp_path: Path, vectors: Vectors, capsys: pytest.CaptureFixture[str]) -> None:
    """A key on both sides is one picture, and no answer to itself; without keys, no two are the same."""

    def write(name: str, rows: list[int], key: str = "{}") -> Path:
        columns = {"key": [key.format(row) for row in rows], "label": [LABELS[row] for row in rows]}
        table = pyarrow.table({**columns, "vector": pyarrow.array([vectors[row] for row in rows])})
        parquet.write_table(table, tmp_path / name)
        return tmp_path / name

    everything, some = write("all.parquet", list(range(40))), write("some.parquet", [3, 17, 30])
    words = ["--embeddings", everything, "--query-embeddings"]
    found = run(capsys, *words, some)
    assert (found["queries"], found["gallery"], found["protocol"]) == (3, 40, "split")
    whole = run(capsys, "--embeddings", everything)
    assert found["recall"]["1"] != 1.0 or whole["recall"]["1"] == 1.0
    assert run(capsys, *words, write("renamed.parquet", [3, 17, 30], "other {}"))["recall"]["1"] == 1.0
    np.save(tmp_path / "q.npy", vectors[[3]])
    np.save(tmp_path / "g.npy", vectors)
    sides = ["--embeddings", tmp_path / "g.npy", "--labels", write_labels(tmp_path / "g.txt", LABELS)]
    sides += ["--query-embeddings", tmp_path / "q.npy", "--query-labels", write_labels(tmp_path / "q.txt", LABELS[3:4])]
    assert run(capsys, *sides)["recall"]["1"] == 1.0


@pytest.mark.parametrize(
    ("array", "labels", "text"),
    [
        (np.zeros((3, 2), np.float32), ["a", "a", "b"], "finite or has no length"),
        (np.ones((3, 2), np.float32), ["a", "a"], r"y\.txt: not a label for each vector .*expected 3, found 2"),
        (np.ones((3, 2), np.float32), ["a", "", "b"], "the label of row 2 is empty"),
        (np.ones(3, np.float32), ["a", "a", "b"], "not an array of vectors"),
        (np.ones((3, 2), np.int64), ["a", "a", "b"], "not an array of vectors"),
        (np.eye(3, dtype=np.float32), ["a", "b", "c"], "no query has another picture of its class"),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path, array: Any, labels: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", array)
    write_labels(tmp_path / "y.txt", labels)
    code = crossmatch.run(["evaluate", "--embeddings", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.txt")])
    error = capsys.readouterr().err
    assert code in (1, 2)
    assert error.count("\n") == 1
    assert re.search(text, error)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_text("no array", encoding="utf-8")
    with pytest.raises(SourceError, match="can not be read as npy"):
        read_foreign(tmp_path / "x.npy", tmp_path / "y.txt")
    with pytest.raises(SourceError, match="can not be read"):
        read_labels(tmp_path / "missing.txt")
    (tmp_path / "y.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(SourceError, match="no column `label`"):
        read_labels(tmp_path / "y.csv")
    np.save(tmp_path / "y.npy", np.ones(3))
    with pytest.raises(SourceError, match="not labels"):
        read_labels(tmp_path / "y.npy")


def test_a_vector_that_is_not_finite(tmp_path: Path) -> None:
    rows = np.ones((4, 2), np.float32)
    rows[2, 1] = np.nan
    np.save(tmp_path / "x.npy", rows)
    side = read_foreign(tmp_path / "x.npy", write_labels(tmp_path / "y.txt", list("aabb")))
    for metric in ("cosine", "euclidean"):
        with pytest.raises(VectorError, match="finite"):
            label_sides(side, side, metric)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "nothing to evaluate"),
        (["--embeddings", "x.npy", "--model", "bundle"], "vectors or a model, not both"),
        (["--embeddings", "x.npy", "--metric", "manhattan"], "no such metric"),
        (["--embeddings", "x.npy", "--query-labels", "y"], "labels without queries"),
        (["--model", "b", "--data", "cub", "--root", "r", "--metric", "euclidean"], "for --embeddings"),
        (["--embeddings", "x.npy"], "x"),
    ],
)
def test_called_wrongly(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert crossmatch.run(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
