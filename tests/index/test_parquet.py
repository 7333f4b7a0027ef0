"""Rows out of Parquet files, and their values as JSON; `test_manifests` has the files that do not fit."""

from __future__ import annotations

import datetime
import decimal
import sys
import uuid
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from index.errors import UsageError
from index.parquet import import_pyarrow, iterate_rows, to_json_value


def test_rows_are_numbered_across_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"n": list(range(5))}), path, row_group_size=2)
    assert list(iterate_rows(path)) == [(f"{path}: row {number + 1}", {"n": number}) for number in range(5)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, "x", True]}, {"a": [1, 2.5, "x", True]}),
        (datetime.datetime(2024, 1, 2, 3, 4, tzinfo=datetime.UTC), "2024-01-02T03:04:00+00:00"),
        ([datetime.date(2024, 1, 2), datetime.time(3, 4)], ["2024-01-02", "03:04:00"]),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_values_as_json(value: object, expected: object) -> None:
    assert to_json_value(value) == expected


@pytest.mark.parametrize("value", [b"x", float("inf"), {1, 2}, 1j])
def test_values_that_json_can_not_hold(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        to_json_value(value)


def test_missing_pyarrow_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[parquet\]' in the clone") as caught:
        import_pyarrow()
    assert caught.value.exit_code == 2
