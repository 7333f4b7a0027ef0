"""The error tree, and the line that a user reads."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from index import errors
from index.errors import BundleFormatError, CrossmatchError, RefusedError, SourceError


def drawn_tree() -> dict[str, str | None]:
    """Class name -> parent's name, as the docstring of `index.errors` draws it."""
    parents: dict[str, str | None] = {}
    open_branches: list[tuple[int, str]] = []
    for line in str(errors.__doc__).splitlines():
        found = re.match(r"^([ |`-]*)([A-Z]\w+Error)\b", line)
        if not found:
            continue
        depth, name = len(found[1]), found[2]
        open_branches = [branch for branch in open_branches if branch[0] < depth]
        parents[name] = open_branches[-1][1] if open_branches else None
        open_branches.append((depth, name))
    return parents


def real_classes() -> dict[str, type[CrossmatchError]]:
    """Every error class that the module defines, by name."""
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, CrossmatchError)
    }


def test_docstring_draws_the_real_tree() -> None:
    real = {name: str(each.__bases__[0].__name__) for name, each in real_classes().items()}
    drawn = {name: parent or "Exception" for name, parent in drawn_tree().items()}
    assert len(drawn) >= 18
    assert drawn == real


def test_docstring_says_what_the_classes_say() -> None:
    lines = str(errors.__doc__)
    for name, each in real_classes().items():
        if each is not CrossmatchError:
            said = str(each.__doc__).rstrip(".")
            said = said[0].lower() + said[1:]
            assert re.search(rf"{name} +{re.escape(said)}(:|$)", lines, re.MULTILINE), name


@pytest.mark.parametrize(("name", "each"), sorted(real_classes().items()))
def test_exit_codes(name: str, each: type[CrossmatchError]) -> None:
    expected = 2 if issubclass(each, errors.UsageError) else 3 if issubclass(each, RefusedError) else 1
    assert each.exit_code == expected, name
    assert isinstance(each("x"), CrossmatchError)


def test_line_names_everything_in_order() -> None:
    error = SourceError("no such source", where=Path("/a/b"), expected="a folder", found=0, remedy="check the path")
    assert str(error) == "/a/b: no such source (expected a folder, found 0); check the path"
    assert (error.what, error.where, error.expected, error.found) == ("no such source", "/a/b", "a folder", "0")


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "wrong"),
        ({"where": "x"}, "x: wrong"),
        ({"found": ""}, "wrong (found )"),
        ({"expected": 1}, "wrong (expected 1)"),
        ({"remedy": "stop"}, "wrong; stop"),
    ],
)
def test_line_leaves_out_what_is_not_known(facts: dict[str, str], line: str) -> None:
    assert str(CrossmatchError("wrong", **facts)) == line


def test_line_is_one_line() -> None:
    error = BundleFormatError("wrong", where="a\nb", found=ValueError("first\n\n  second\tthird"))
    assert str(error) == "a b: wrong (found first second third)"


def test_line_can_be_printed_whatever_the_file_name() -> None:
    error = CrossmatchError("wrong", where=Path(b"caf\xe9.jpg".decode("utf-8", "surrogateescape")))
    assert str(error).encode("utf-8") == b"caf\\udce9.jpg: wrong"


def test_error_crosses_a_process_boundary() -> None:
    error = SourceError("wrong", where="x", remedy="stop")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is SourceError
    assert (str(copy), copy.where, copy.remedy) == (str(error), "x", "stop")
