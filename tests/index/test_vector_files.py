"""Parquet and npy files of vectors: what is written comes back, other programs' files are read, faults are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from index.errors import CrossmatchError, SourceError, UsageError, VectorError
from index.types import Vectors
from index.vector_files import VectorRecord, create_vector_file, iterate_vectors
from tests.vector_gallery import draw_rows

FORMATS = ("x.parquet", "x.npy")
RECORDS = [VectorRecord("a", None, {}, None), VectorRecord("Ä\n", "x", {"price": 3, "tags": ["é"]}, "0f" * 32)]


def write(path: Path, rows: Vectors) -> Path:
    with create_vector_file(path, "model-1", rows.shape[1]) as sink:
        sink.write(RECORDS[:1], rows[:1])
        sink.write(RECORDS[1:], rows[1:])
    return path


def write_npy(folder: Path, array: Any, lines: list[Any]) -> Path:
    np.save(folder / "x.npy", array)
    (folder / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "x.npy"


def write_parquet(folder: Path, columns: dict[str, Any]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "x.parquet")
    return folder / "x.parquet"


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_comes_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    rows = draw_rows(2)
    (block,) = (one for one in iterate_vectors(write(tmp_path / name, rows)) if one.records)
    assert list(block.records) == RECORDS
    assert block.vectors.tobytes() == rows.tobytes()
    assert block.models == {"model-1"}


def test_other_programs_read_the_files(tmp_path: Path) -> None:
    rows = draw_rows(2)
    table = pyarrow.parquet.read_table(write(tmp_path / "x.parquet", rows))
    assert table.column_names == ["key", "label", "metadata", "content_hash", "vector"]
    assert table["key"].to_pylist() == ["a", "Ä\n"]
    assert np.array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), rows)
    assert np.array_equal(np.load(write(tmp_path / "x.npy", rows)), rows)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["a", "Ä\n"]


@pytest.mark.parametrize("name", FORMATS)
def test_failed_write_leaves_nothing(tmp_path: Path, name: str) -> None:
    def fail() -> None:
        with create_vector_file(tmp_path / name, "m", 16) as sink:
            sink.write(RECORDS, draw_rows(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_file_that_is_there_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        write(tmp_path / name, draw_rows(2))
    assert (tmp_path / name).read_text() == "mine"


def test_lines_that_are_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("a manifest")
    with pytest.raises(UsageError, match=r"x\.jsonl: the file is there already"):
        write(tmp_path / "x.npy", draw_rows(2))
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_other_endings(tmp_path: Path) -> None:
    for fails in (lambda: write(tmp_path / "x.csv", draw_rows(2)), lambda: list(iterate_vectors(tmp_path / "x.csv"))):
        with pytest.raises(UsageError, match=r"x\.csv: not a file of vectors .*\.parquet or \.npy"):
            fails()


def test_columns_of_others_become_metadata(tmp_path: Path) -> None:
    columns = {"key": ["a"], "colour": ["red"], "metadata": [{"price": 2}], "vector": [[1.0, 0.0]], "model": ["m"]}
    (block,) = iterate_vectors(write_parquet(tmp_path, columns))
    assert block.records == (VectorRecord("a", None, {"colour": "red", "price": 2}),)
    assert block.vectors.dtype == np.float32
    assert block.models == {"m"}


def test_file_that_names_no_model(tmp_path: Path) -> None:
    (block,) = iterate_vectors(write_npy(tmp_path, np.eye(2, dtype=np.float16), [{"key": "a"}, {"key": "b"}]))
    assert block.models == {None}
    assert np.array_equal(block.vectors, np.eye(2, dtype=np.float32))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vector": [[1.0]]}, "no column `key`"),
        ({"key": ["a"]}, "no column `vector`"),
        ({"key": ["a", None], "vector": [[1.0], [1.0]]}, "row 2: the key is empty"),
        ({"key": ["a", "b"], "vector": [[1.0], None]}, r"row 2 \('b'\): not a vector"),
        ({"key": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]}, r"row 2 \('b'\): wrong size \(expected 1, found 2\)"),
        ({"key": ["a"], "vector": ["1,2"]}, r"row 1 \('a'\): not a vector"),
        ({"key": ["a"], "vector": [["x"]]}, "not numbers"),
        ({"key": ["a"], "vector": [[1.0]], "metadata": ["[1]"]}, "row 1: not a JSON object"),
        ({"key": ["a"], "vector": [[1.0]], "content_hash": ["../../x"]}, "not a SHA-256"),
    ],
)
def test_parquet_that_does_not_fit(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises((SourceError, VectorError), match=message):
        list(iterate_vectors(write_parquet(tmp_path, columns)))


@pytest.mark.parametrize(
    ("array", "lines", "message"),
    [
        (np.eye(2), [{"key": "a"}], "not as many as the array's rows .*expected 2 lines, found 1"),
        (np.eye(1), [{"key": "a"}, {"key": "b"}], "not as many as the array's rows .*found more"),
        (np.eye(1)[0], [{"key": "a"}], "not an array of vectors"),
        (np.eye(1, dtype=np.int8), [{"key": "a"}], "not an array of vectors .*int8"),
        (np.array([[{}]], dtype=object), [{"key": "a"}], "can not be read as npy"),
        (np.eye(1), [{"key": ""}], r"x\.jsonl:1: the key is empty"),
        (np.eye(1), [["a"]], r"x\.jsonl:1: not a JSON object"),
    ],
)
def test_npy_that_does_not_fit(tmp_path: Path, array: Any, lines: list[Any], message: str) -> None:
    with pytest.raises(CrossmatchError, match=message):
        list(iterate_vectors(write_npy(tmp_path, array, lines)))


def test_npy_without_its_lines(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(1))
    with pytest.raises(SourceError, match=r"x\.jsonl: can not be read: No such file"):
        list(iterate_vectors(tmp_path / "x.npy"))


def test_array_of_exactly_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.vector_files.ROWS", 2)
    for count in (1, 2, 3, 4):
        path = write_npy(tmp_path, draw_rows(count), [{"key": str(number)} for number in range(count)])
        found = [record.key for block in iterate_vectors(path) for record in block.records]
        assert found == [str(number) for number in range(count)]
