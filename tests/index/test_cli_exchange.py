"""`index export`, `import`, `backup`, `restore` and `embed`: exact JSON fields, exit codes, one line for a failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crossmatch
from index.bundle import Bundle
from tests.command_line import Output, fail, run_json, say


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, drawn_pictures: Path) -> Path:
    """The 24 pictures, indexed. Read only."""
    folder = tmp_path_factory.mktemp("built") / "index"
    words = ["index", "build", str(drawn_pictures), "--model", str(tiny_bundle.folder), "--index", str(folder)]
    assert crossmatch.run(words) == 0
    return folder


def listed(capsys: Output, index: Path) -> list[Any]:
    assert crossmatch.run(["index", "list", "--index", str(index), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_export_and_import(built: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: Output) -> None:
    capsys.readouterr()
    output, new = tmp_path / "x.parquet", tmp_path / "new"
    assert run_json(capsys, "index", "export", output, "--index", built) == {
        "output": str(output),
        "items": 24,
        "model": tiny_bundle.manifest.model_id,
        "change_number": 26,
    }
    words = ["index", "import", output, "--index", new, "--model", tiny_bundle.folder]
    assert run_json(capsys, *words) == {"index": str(new), "added": 24, "replaced": 0, "kept": 0, "taken": []}
    assert say(capsys, *words) == f"{new}: added 0, replaced 0, kept 24, left alone 0\n"
    assert listed(capsys, new) == listed(capsys, built)


def test_refused_import_makes_no_index(
    built: Path, make_tiny_bundle: Callable[..., Bundle], tmp_path: Path, capsys: Output
) -> None:
    output, other = tmp_path / "x.npy", make_tiny_bundle(tmp_path / "other", seed=1)
    say(capsys, "index", "export", output, "--index", built)
    line = fail(capsys, 1, "index", "import", output, "--index", tmp_path / "new", "--model", other.folder)
    assert "another model's vectors" in line
    assert not (tmp_path / "new").exists()
    fail(capsys, 1, "index", "import", output, "--index", tmp_path / "new")
    fail(capsys, 2, "index", "import", tmp_path / "x.csv", "--index", built)
    fail(capsys, 2, "index", "export", output, "--index", built)


def test_embed(drawn_pictures: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: Output) -> None:
    output = tmp_path / "x.npy"
    words = ["embed", drawn_pictures, "--model", tiny_bundle.folder]
    assert run_json(capsys, *words, "--output", output) == {"output": str(output), "embedded": 24, "skipped": []}
    assert say(capsys, *words, "--output", tmp_path / "y.parquet") == f"{tmp_path}/y.parquet: 24 vectors, skipped 0\n"
    fail(capsys, 2, *words, "--output", output)


def test_backup_and_restore(built: Path, tmp_path: Path, capsys: Output) -> None:
    capsys.readouterr()
    backup, new = tmp_path / "backup", tmp_path / "new"
    report = run_json(capsys, "index", "backup", backup, "--index", built)
    sizes = [path.stat().st_size for path in (backup / "index").rglob("*") if path.is_file()]
    assert report == {
        "backup": str(backup),
        "change_number": 26,
        "items": 24,
        "files": len(sizes),
        "bytes": sum(sizes),
        "without_picture": 0,
        "damaged": [],
    }
    found = run_json(capsys, "index", "restore", backup, "--index", new)
    assert found.pop("created").endswith("+00:00")
    assert found == {"index": str(new), "change_number": 26, "items": 24, "files": len(sizes)}
    assert listed(capsys, new) == listed(capsys, built)
    fail(capsys, 2, "index", "restore", backup, "--index", new)
    fail(capsys, 2, "index", "backup", backup, "--index", built)
    (backup / "index/CURRENT").write_text("?")
    assert "CURRENT: a file of the backup is not" in fail(
        capsys, 1, "index", "restore", backup, "--index", tmp_path / "third"
    )


def test_rollback_finds_pictures_that_moved(
    tmp_path: Path, own_pictures: Path, tiny_bundle: Bundle, make_tiny_bundle: Callable[..., Bundle], capsys: Output
) -> None:
    index, other = tmp_path / "index", make_tiny_bundle(tmp_path / "other", seed=1)
    for bundle in (tiny_bundle, other):
        say(capsys, "index", "build", own_pictures, "--model", bundle.folder, "--index", index)
    (own_pictures / "new.png").write_bytes((own_pictures / "red/red-0.png").read_bytes())
    say(capsys, "index", "build", own_pictures, "--model", other.folder, "--index", index, "--update")
    own_pictures.rename(tmp_path / "moved")
    assert "new.png" in fail(capsys, 1, "index", "rollback", "--index", index)
    found = run_json(capsys, "index", "rollback", "--index", index, "--images-root", tmp_path / "moved")
    assert found["encoded"] == 1
