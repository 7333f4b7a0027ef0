"""CSV, JSONL and Parquet manifests: the same rows from each, and what does not fit is named by its row."""

from __future__ import annotations

import datetime
import decimal
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from index.errors import SourceError, UsageError
from index.manifests import ManifestRow, read_csv, read_jsonl, read_rows

ROWS = [
    {"path": "./a.jpg", "label": "shoe", "key": "42", "colour": "red"},
    {"path": "sub/b.jpg", "label": None, "key": None, "colour": "blue"},
]
EXPECTED = [
    ManifestRow("42", "shoe", "./a.jpg", {"colour": "red"}),
    ManifestRow("sub/b.jpg", None, "sub/b.jpg", {"colour": "blue"}),
]


def write_jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "list.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def write_parquet(folder: Path, columns: dict[str, Any]) -> Path:
    path = folder / "list.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    csv = tmp_path / "list.csv"
    csv.write_text("path,label,key,colour\n./a.jpg,shoe,42,red\nsub/b.jpg,,,blue\n")
    parquet = write_parquet(tmp_path, {name: [row[name] for row in ROWS] for name in ROWS[0]})
    for path in (csv, write_jsonl(tmp_path, *ROWS), parquet):
        assert list(read_rows(path)) == EXPECTED, path


def test_csv_dialect(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(
        '\ufeffpath,label,note\r\n"a,b.jpg","say ""cheese""","two\r\nlines"\r\ncafé.jpg,Äpfel,\r\n'.encode()
    )
    first, second = read_csv(path)
    assert (first.key, first.label, first.metadata) == ("a,b.jpg", 'say "cheese"', {"note": "two\r\nlines"})
    assert (second.key, second.label) == ("café.jpg", "Äpfel")


def test_unknown_ending_is_csv(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("path\na.jpg\n")
    assert [row.key for row in read_rows(path)] == ["a.jpg"]


def test_jsonl_metadata_keeps_its_types(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path, "\ufeff" + json.dumps({"path": "a", "price": 3.5, "tags": ["x"], "none": None}), "", {"path": "b"}
    )
    first, second = read_jsonl(path)
    assert first.metadata == {"price": 3.5, "tags": ["x"], "none": None}
    assert (second.key, second.metadata) == ("b", {})


def test_whole_numbers_may_be_keys_and_labels(tmp_path: Path) -> None:
    (row,) = read_jsonl(write_jsonl(tmp_path, {"path": "a", "key": 7, "label": 0}))
    assert (row.key, row.label) == ("7", "0")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "list.jsonl:2: not JSON"),
        ("[1]", r"list.jsonl:2: not a JSON object .*found \[1\]"),
        ('{"path": "a", "price": NaN}', "list.jsonl:2: not JSON .*NaN is not JSON"),
        ("[" * 100_000, "list.jsonl:2: not JSON"),
        ({"label": "x"}, "list.jsonl:2: there is no `path`"),
        ({"path": ""}, "list.jsonl:2: the column `path` is empty"),
        ({"path": None}, "list.jsonl:2: the column `path` is empty"),
        ({"path": ["a"]}, r"list.jsonl:2: the column `path` is not text .*\['a'\]"),
        ({"path": "a", "key": True}, "list.jsonl:2: the column `key` is not text .*True"),
        ({"path": "a", "label": 1.5}, "list.jsonl:2: the column `label` is not text .*1.5"),
        ({"path": "a\0b"}, "list.jsonl:2: the column `path` holds a zero byte"),
        ({"path": "a\ud800"}, "list.jsonl:2: a text is not Unicode"),
        ({"path": "a", "deep": {"note": "\udc00"}}, "list.jsonl:2: a text is not Unicode"),
    ],
)
def test_jsonl_row_that_does_not_fit(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        list(read_jsonl(write_jsonl(tmp_path, {"path": "fine.jpg"}, row)))
    assert str(caught.value).encode()
    assert len(str(caught.value)) < 600


def test_jsonl_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_bytes(b'{"path": "caf\xe9.jpg"}\n')
    with pytest.raises(SourceError, match=r"can not be read as JSONL .*UTF-8"):
        list(read_jsonl(path))


def test_parquet_values_become_json(tmp_path: Path) -> None:
    columns = {
        "path": ["a.jpg"],
        "day": [datetime.date(2024, 2, 29)],
        "price": [decimal.Decimal("3.50")],
        "count": [3],
        "size": [{"w": 1, "h": 2.5}],
        "missing": [None],
    }
    (row,) = read_rows(write_parquet(tmp_path, columns))
    assert row.metadata == {
        "day": "2024-02-29",
        "price": "3.50",
        "count": 3,
        "size": {"w": 1, "h": 2.5},
        "missing": None,
    }


@pytest.mark.parametrize("value", [b"bytes", float("nan")])
def test_parquet_value_that_json_can_not_hold(tmp_path: Path, value: object) -> None:
    path = write_parquet(tmp_path, {"path": ["a.jpg", "b.jpg"], "odd": [None, value]})
    with pytest.raises(SourceError, match="row 2: the column `odd` can not become metadata"):
        list(read_rows(path))


def test_parquet_without_paths(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="row 1: there is no `path`"):
        list(read_rows(write_parquet(tmp_path, {"file": ["a.jpg"]})))


def test_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    path.write_text("path\na.jpg\n")
    with pytest.raises(SourceError, match=r"list\.parquet: can not be read as Parquet"):
        list(read_rows(path))


def test_without_pyarrow_only_parquet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path, {"path": ["a.jpg"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"need pyarrow .*pip install .*parquet"):
        list(read_rows(path))
    assert [row.key for row in read_rows(write_jsonl(tmp_path, {"path": "a.jpg"}))] == ["a.jpg"]
