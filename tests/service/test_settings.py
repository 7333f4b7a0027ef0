"""Every option of `serve`: its variable works, and docs/operations.md has it with its default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import crossmatch
from crossmatch import make_command
from tests.documents import read_document, sections
from tests.service.live_service import run_crossmatch

TEXT = sections(read_document("docs/operations.md"))["Settings"]
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `(--[\w-]+)` \| `(\w+)` \| ([^|]*) \| ([^|]+) \|$", TEXT, re.M)}


def list_options() -> dict[str, Any]:
    serve = make_command().get_command(None, "serve")
    return {parameter.opts[0]: parameter for parameter in serve.params if parameter.opts[0] != "--help"}


def test_every_option_is_in_the_table_with_its_variable_and_default() -> None:
    options = list_options()
    assert {"--index", "--port", "--log-format", "--allowed-host"} <= set(options)
    assert set(ROWS) == set(options)
    for name, option in options.items():
        variable, default, meaning = ROWS[name]
        assert variable == "CROSSMATCH_" + name.removeprefix("--").replace("-", "_").upper()
        assert variable == f"CROSSMATCH_{option.name.upper()}"  # what the command line reads
        said = default.strip().strip("`")
        value = getattr(option.default, "value", option.default)
        if value in (None, False) or option.required:
            assert said in ("", "required", "off"), name
        else:
            assert said == str(value), name
        assert len(meaning) > 10, name


def test_a_variable_is_read_and_an_option_beats_it(
    drawn_index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSMATCH_INDEX", str(drawn_index))
    monkeypatch.setenv("CROSSMATCH_PORT", "70000")
    assert crossmatch.run(["serve"]) == 2
    assert "--port" in capsys.readouterr().err
    monkeypatch.setenv("CROSSMATCH_HOST", "192.0.2.1")
    assert crossmatch.run(["serve", "--port", "0"]) == 2
    assert "192.0.2.1" in capsys.readouterr().err


def test_several_values_and_flags_come_as_variables(drawn_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSMATCH_ALLOWED_HOST", "a.example not/a/name")
    monkeypatch.setenv("CROSSMATCH_ALLOW_OPEN", "1")
    code, _, err = run_crossmatch("serve", "--index", drawn_index, "--host", "0.0.0.0", "--port", 0)
    assert (code, err.count("\n")) == (2, 1)
    assert "not/a/name" in err


def test_no_other_command_listens_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSMATCH_INDEX", "/nowhere")
    code, _, err = run_crossmatch("index", "info")
    assert code == 2
    assert "--index" in err
