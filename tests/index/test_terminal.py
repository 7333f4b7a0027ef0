"""What goes to standard output, what to standard error, and bars only where a person sees them."""

from __future__ import annotations

import io
import json
import sys

import pytest

from index.terminal import count_of, print_facts, print_json, print_note, progress_bar


def test_json_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"key": 'Tomaten/größe "1".jpg', "label": None, "score": 0.1 + 0.2, "lines": "a\nb"}
    print_json(value)
    out, err = capsys.readouterr()
    assert json.loads(out) == value
    assert out.count("\n") == 1
    assert "größe" in out
    assert err == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_does_not_know_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json({"recall": value})


def test_facts_are_aligned_and_nothing_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"size": 0, "generation": "0001-ab", "recall": None})
    assert capsys.readouterr().out == "size        0\ngeneration  0001-ab\nrecall      -\n"


def test_numbers_for_people_have_four_decimals(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"size": 3, "loss": 2.0946231, "recall": 1.0})
    assert capsys.readouterr().out == "size    3\nloss    2.0946\nrecall  1.0000\n"


def test_counts() -> None:
    assert [count_of(number, "fault") for number in (0, 1, 2)] == ["0 faults", "1 fault", "2 faults"]


def test_notes_leave_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_note("3 of 4 items")
    assert capsys.readouterr() == ("", "3 of 4 items\n")


def test_no_bar_where_nobody_sees_it(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Indexing") as on_progress:
        on_progress(1, 2)
        on_progress(2, 2)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar("Indexing") as on_progress:
        on_progress(3, 7)
    assert "Indexing" in screen.getvalue()
    assert "3/7" in screen.getvalue()
    assert capsys.readouterr().out == ""
