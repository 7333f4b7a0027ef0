"""`docs/artifacts.md` against the formats that the code writes: fields, tables, columns, files and the model id."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.builder import build_index
from index.bundle import OPTIONAL, REQUIRED, Bundle
from index.calibration import Calibration, Sampling
from index.copies import Entries
from index.database import APPLICATION_ID, COVERED, SCHEMA_VERSION, crc_of, read_schema
from index.layout import Layout
from index.manifest import MANIFEST_NAME, Manifest, TrainingData
from index.preprocess import LONGEST_ASPECT, Preprocessing
from index.sources import read_source
from tests.documents import code_blocks, read_document, sections, table_names

TEXT = read_document("docs/artifacts.md")
SECTIONS = sections(TEXT)


@pytest.fixture(scope="module")
def index(tiny_bundle: Bundle, drawn_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A built index. Read only."""
    folder = tmp_path_factory.mktemp("docs") / "drawn.index"
    build_index(read_source(drawn_pictures), tiny_bundle, folder)
    return Layout(folder)


def test_every_manifest_field_is_documented_and_no_other() -> None:
    manifest, training = SECTIONS["manifest.json"].split("`training`:")
    assert set(table_names(manifest)) == set(Manifest.model_fields)
    assert set(table_names(training)) == set(TrainingData.model_fields)
    assert set(table_names(SECTIONS["Preprocessing"])) == set(Preprocessing.model_fields)


def test_every_field_of_a_calibration_is_documented_and_no_other() -> None:
    fields, sampling = SECTIONS["Calibration"].split("`sampling`:")
    assert set(table_names(fields)) == set(Calibration.model_fields)
    assert set(table_names(sampling)) == set(Sampling.model_fields)


def test_every_value_that_a_preprocessing_field_may_have_is_named() -> None:
    text = SECTIONS["Preprocessing"]
    schema = Preprocessing.model_json_schema()["properties"]
    values = [value for field in schema.values() for value in field.get("enum", [field.get("const")]) if value]
    assert {"draft2x", "squash", "lanczos"} <= set(values)
    assert not [value for value in values if f"`{value}`" not in text]


def test_fields_that_may_be_null_are_said_to_be() -> None:
    table = SECTIONS["manifest.json"].split("`training`:")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE))
    types = {name: getattr(field.annotation, "__args__", ()) for name, field in Manifest.model_fields.items()}
    nullable = {name for name, arguments in types.items() if type(None) in arguments}
    assert "calibration" in nullable
    assert {name for name, kind in rows.items() if "null" in kind} == nullable


def test_every_file_of_a_bundle_is_documented_and_no_other() -> None:
    assert set(table_names(SECTIONS["Model bundle"])) == {MANIFEST_NAME, *REQUIRED, *OPTIONAL}


def test_the_aspect_limit_is_the_code_s() -> None:
    assert f"more than {LONGEST_ASPECT} times as long as it is wide" in " ".join(TEXT.split())
    assert f"central {LONGEST_ASPECT}:1" in TEXT


def test_the_worked_example_computes_the_model_id(tiny_bundle: Bundle, tmp_path: Path) -> None:
    [example] = code_blocks(TEXT, "python")
    shutil.copytree(tiny_bundle.folder, tmp_path / "bundle")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == tiny_bundle.manifest.model_id


def test_the_golden_arrays_are_the_documented_ones(tiny_bundle: Bundle) -> None:
    with np.load(tiny_bundle.folder / "golden.npz") as arrays:
        names = {re.sub(r"_\d+$", "_0", name) for name in arrays.files}
    assert set(table_names(SECTIONS["golden.npz"])) == names


def test_every_table_and_column_is_documented_and_no_other(index: Layout) -> None:
    text = SECTIONS["catalog.sqlite"]
    parts = re.split(r"^`(\w+)`:", text, flags=re.MULTILINE)
    documented = {name: table_names(part) for name, part in zip(parts[1::2], parts[2::2], strict=True)}
    with closing(sqlite3.connect(index.catalog)) as db:
        names = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").fetchall()
        columns = {name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")] for (name,) in names}
    assert documented == columns


def test_the_catalogue_s_numbers_are_the_code_s() -> None:
    text = SECTIONS["catalog.sqlite"]
    assert f"`PRAGMA application_id` is {APPLICATION_ID} " in text
    assert APPLICATION_ID.to_bytes(4, "big") == b"CRMT"
    assert f"format version, {SCHEMA_VERSION}." in text


def test_every_kind_of_change_is_documented_and_no_other() -> None:
    found = re.search(r"kind IN \(([^)]+)\)", read_schema())
    assert found
    [row] = re.findall(r"^\| `kind` \| (.+) \|$", SECTIONS["catalog.sqlite"], re.MULTILINE)
    assert re.findall(r"`(\w+)`:", row) == re.findall(r"'(\w+)'", found[1])


def test_the_crc_of_a_row_is_over_the_documented_columns(index: Layout) -> None:
    numbers = {"id", "number", "crc"}
    with closing(sqlite3.connect(index.catalog)) as db:
        db.row_factory = sqlite3.Row
        for table in COVERED:
            for row in db.execute(f"SELECT * FROM {table}"):
                assert row["crc"] == crc_of(*(row[name] for name in row.keys() if name not in numbers)), table  # noqa: SIM118


def test_every_file_of_an_index_is_documented(index: Layout) -> None:
    text = code_blocks(SECTIONS["Index"])[0]
    top = {path.name for path in index.folder.iterdir()} - {"catalog.sqlite-wal", "catalog.sqlite-shm"}
    [generation] = (index.folder / "generations").iterdir()
    inner = {re.sub(r"snapshot-\d+", "snapshot-<N>", path.name) for path in generation.iterdir()}
    assert {"CURRENT", "catalog.sqlite", "build.lock", "seal.lock", "reserve", "originals"} <= top
    assert {"snapshot-<N>.faiss", "snapshot-<N>.entries"} <= inner
    assert not [name for name in top | inner if not re.search(rf"^ *{re.escape(name)}[/ ]", text, re.MULTILINE)]


def test_every_field_of_a_generation_s_manifest_is_documented(index: Layout) -> None:
    [path] = (index.folder / "generations").glob("*/manifest.json")
    fields = set(re.findall(r'"(\w+)":', path.read_text(encoding="utf-8")))
    assert set(table_names(SECTIONS["generations/\\<name\\>/"])) == fields


def test_rows_lie_where_the_page_says(index: Layout) -> None:
    [path] = (index.folder / "generations").glob("*/vectors.f32")
    rows = np.fromfile(path, "<f4").reshape(-1, 16)
    assert not rows[0].any()
    assert np.allclose(np.linalg.norm(rows[1:], axis=1), 1.0, atol=1e-5)


def test_the_file_of_entries_is_laid_out_as_the_page_says(index: Layout) -> None:
    [path] = (index.folder / "generations").glob("*/snapshot-*.entries")
    numbers = np.fromfile(path, "<i8")
    m, n = numbers[:2].tolist()
    assert len(numbers) == 3 + m + 3 * n
    offsets, pictures, entry_of, ascending = np.split(numbers[2:], np.cumsum([m + 1, n, n]))
    for entry in range(m):
        own = pictures[offsets[entry] : offsets[entry + 1]]
        assert (np.diff(own) > 0).all()
        assert (entry_of[np.searchsorted(ascending, own)] == entry).all()
    assert (np.sort(pictures) == ascending).all()
    assert len(Entries.from_array(numbers)) == m > 0
