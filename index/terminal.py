"""What every command shares at the terminal: progress bars, facts for people, JSON for machines.

Answers go to standard output, everything else to standard error; a bar is drawn only where a person can see it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SHOWN = 20  # lines listed for people


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total or 0) that moves a bar on standard error; does nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_facts(facts: Mapping[str, object]) -> None:
    """A line a fact, names aligned; four decimals of a number that has any."""
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {_say(value)}")


def _say(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value is None else value


def count_of(number: int, noun: str) -> str:
    """`1 fault`, `2 faults`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_result(line: str, fields: object, *, json: bool) -> None:
    """One line for people, or the same as JSON."""
    if json:
        print_json(fields)
    else:
        typer.echo(line)


def print_listed(lines: Sequence[str], shown: int = _SHOWN, indent: str = "  ") -> None:
    """The first of some lines for people, and how many more there are; `--json` lists them all."""
    for line in lines[:shown]:
        typer.echo(f"{indent}{line}")
    if len(lines) > shown:
        typer.echo(f"{indent}... and {len(lines) - shown} more; --json lists them all")


def print_note(text: str) -> None:
    """A line for people, on standard error."""
    typer.echo(text, err=True)
