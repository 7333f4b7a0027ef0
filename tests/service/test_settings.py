"""Every option of `serve`: its variable works, docs/operations.md has it with its default; attributions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import crossmatch
from crossmatch import make_command
from index.errors import UsageError
from service import server
from service.settings import Settings, read_attribution
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


def test_what_is_said_is_what_the_service_is_told(drawn_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Settings] = []
    monkeypatch.setattr(server, "run_server", lambda settings, *_: told.append(settings))
    monkeypatch.setenv("CROSSMATCH_BATCH", "4")
    options = ["--threads", "3", "--waiting", "5", "--writes-waiting", "6", "--deadline", "7", "--max-bytes", "8"]
    assert crossmatch.run(["serve", "--index", str(drawn_index), "--port", "0", "--max-pixels", "9", *options]) == 0
    [settings] = told
    assert (settings.index, settings.threads, settings.batching.size) == (drawn_index, 3, 4)
    assert (settings.waiting, settings.writes_waiting, settings.deadline_seconds) == (5, 6, 7.0)
    assert (settings.limits.max_bytes, settings.limits.max_pixels) == (8, 9)


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


def test_the_text_of_an_attribution_becomes_one_line(tmp_path: Path) -> None:
    file = tmp_path / "ATTRIBUTION.txt"
    file.write_text("Drawn by hand,\n  © nobody\n\n", encoding="utf-8")
    assert read_attribution(file) == "Drawn by hand, © nobody"


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_without_a_file_or_a_text_nothing_is_said(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ATTRIBUTION.txt"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert read_attribution(file) is None


@pytest.mark.parametrize(("data", "reason"), [(b"\xff\xfe\x00", "UTF-8"), (b"x" * 1001, "1001")])
def test_an_attribution_that_is_no_short_text_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    file = tmp_path / "ATTRIBUTION.txt"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=reason) as caught:
        read_attribution(file)
    assert str(file) in str(caught.value)


def test_a_folder_is_no_attribution(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can not be read as text"):
        read_attribution(tmp_path)
