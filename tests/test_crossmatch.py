"""The command line as a whole: what it lists, what it imports, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crossmatch
from index.errors import ImageError, RefusedError, UsageError

ROOT = Path(__file__).parents[1]


def leaves(table: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Every command, as its words."""
    for name, entry in table.items():
        if isinstance(entry, dict):
            yield from leaves(entry, (*before, name))
        else:
            yield [*before, name]


COMMANDS = list(leaves(crossmatch.COMMANDS))


@pytest.fixture
def raise_in_command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`raise_in_command(error)`: the exit code of a command that raises it."""

    def run(error: BaseException) -> int:
        def command() -> None:
            raise error

        monkeypatch.setattr("index.cli.info", command)
        return crossmatch.run(["index", "info"])

    return run


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert crossmatch.run(["--help"]) == 0
    listed = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line.split()
    ]
    for name in crossmatch.COMMANDS:
        assert name in listed
    expected = {"demo", "model", "train", "evaluate", "index", "search", "serve"}
    assert expected <= set(crossmatch.COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_has_help_with_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert crossmatch.run([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert "Examples:" in out
    assert f"crossmatch {' '.join(command)} " in out.split("Examples:")[1]
    assert "\b" not in out
    assert err == ""


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, crossmatch\n"
        "heavy = {'torch', 'timm', 'faiss', 'fastapi', 'onnxruntime', 'PIL', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert crossmatch.run(['--help']) == 0\n"
        "assert crossmatch.run(['index', '--help']) == 0\n"
        "assert crossmatch.run(['search', '--help']) == 0\n"
        "heavy -= {'PIL', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_as_a_module_one_line_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crossmatch", "index", "info", "--index", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"crossmatch: {tmp_path}: not an index")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nonsense"], "nonsense"),
        (["index", "nonsense"], "nonsense"),
        (["index", "info"], "--index"),
        (["index", "remove", "--index", "x"], "KEY..."),
        (["index", "compact", "--index", "x", "--keep", "-1"], "--keep"),
        (["index", "info", "--index", "x", "--nonsense"], "--nonsense"),
    ],
)
def test_called_wrongly(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert crossmatch.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.startswith("crossmatch: ")
    assert err.count("\n") == 1
    assert "--help`" in err


def test_a_search_that_can_not_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, complaint in (
        ([], "nothing to search by"),
        (["--negative", "a.jpg"], "nothing to search by"),
        (["a.jpg", "--crop", "0,0,1"], "not a crop"),
        (["a.jpg", "b.jpg", "--crop", "0,0,1,1"], "a crop is of one picture"),
    ):
        assert crossmatch.run(["search", "--index", "x", *arguments]) == 2
        assert capsys.readouterr().err.startswith(f"crossmatch: {complaint}")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert crossmatch.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("crossmatch 0.")


CHECK = "check the path, its permissions and the room there"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ImageError("broken", where="a.jpg"), 1, "crossmatch: a.jpg: broken\n"),
        (UsageError("wrong"), 2, "crossmatch: wrong\n"),
        (RefusedError("worse"), 3, "crossmatch: worse\n"),
        (
            OSError(28, "No space left on device", "/x"),
            1,
            "crossmatch: /x: no space left on device; check the path, its permissions and the room there\n",
        ),
        (
            KeyError("oops\nsecond line"),
            1,
            "crossmatch: unexpected KeyError: 'oops\\nsecond line'; set CROSSMATCH_DEBUG=1 to see where\n",
        ),
        (
            ValueError("first\nsecond"),
            1,
            "crossmatch: unexpected ValueError: first second; set CROSSMATCH_DEBUG=1 to see where\n",
        ),
        (
            ModuleNotFoundError("No module named 'onnx'", name="onnx"),
            2,
            "crossmatch: this needs the package onnx, which is not installed here; run it where everything is "
            "(`make install`, or the image crossmatch-training)\n",
        ),
        (
            ModuleNotFoundError("No module named 'index.gone'", name="index.gone"),
            1,
            "crossmatch: unexpected ModuleNotFoundError: No module named 'index.gone'; set CROSSMATCH_DEBUG=1 to see "
            "where\n",
        ),
    ],
)
def test_exit_codes_and_one_line(
    raise_in_command: Any, error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raise_in_command(error) == code
    assert capsys.readouterr().err == line


def test_interrupted(raise_in_command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert raise_in_command(KeyboardInterrupt()) == 130
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 1


def test_debugging_shows_where(
    raise_in_command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSMATCH_DEBUG", "1")
    assert raise_in_command(ValueError("a bug")) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["index", "info", "--index", "there"],
        ["search", "there", "--index", "there"],
        ["model", "verify", "there"],
        ["index", "backup", "new", "--index", "there"],
    ],
    ids=" ".join,
)
def test_a_path_that_can_not_be_read_has_failed_as_a_missing_one_has(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer's own check ends in exit code 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may read everything
    assert crossmatch.run(words) == 1
    assert "is not readable" not in capsys.readouterr().err


def test_a_word_that_is_no_choice_is_named_without_a_library_s_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    assert crossmatch.run(["serve", "--index", "x", "--log-level", "raed"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("crossmatch: Invalid value for '--log-level': 'raed' is not one of 'debug', ")
