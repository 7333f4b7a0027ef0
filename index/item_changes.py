"""What is to become of an item, as values: a new one, a change, and the rules that their fields keep.

What may change here: limits. Pure functions; nothing here touches a disk.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any

from index.errors import UsageError

KEY_LENGTH = 1000  # characters of a key or a label
METADATA_BYTES = 64 * 2**10  # of the metadata as JSON
DEPTH = 20  # objects and lists inside each other


@dataclass(frozen=True)
class NewItem:
    """An item that comes in by itself, not from a source; `...` where the request did not say."""

    key: str
    label: str | EllipsisType | None = ...
    metadata: dict[str, Any] | EllipsisType = field(default=...)
    replace: bool = False  # other content under a key that is there: replace it, or refuse

    @property
    def fields(self) -> tuple[str | None, dict[str, Any]]:
        """Label and metadata of the item as it would be new."""
        label = None if isinstance(self.label, EllipsisType) else self.label
        return label, {} if isinstance(self.metadata, EllipsisType) else self.metadata

    def agrees_with(self, label: str | None, metadata: dict[str, Any]) -> bool:
        """Whether an item has what the request said; with `replace`, what it did not say has to be absent, too."""
        if self.replace:
            return self.fields == (label, metadata)
        return self.label in (..., label) and self.metadata in (..., metadata)


@dataclass(frozen=True)
class ItemChange:
    """Other fields for an item; `...` leaves one as it is. `metadata` is a merge patch."""

    key: str | EllipsisType = ...
    label: str | EllipsisType | None = ...
    metadata: dict[str, Any] | EllipsisType | None = ...

    def apply(self, key: str, label: str | None, metadata: dict[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
        """The fields after the change."""
        new_metadata = metadata if isinstance(self.metadata, EllipsisType) else merge_patch(metadata, self.metadata)
        return (
            key if isinstance(self.key, EllipsisType) else self.key,
            label if isinstance(self.label, EllipsisType) else self.label,
            new_metadata if isinstance(new_metadata, dict) else {},
        )


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: members of `patch` replace those of `target`, objects are merged, and null takes a member away."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def check_text(name: str, text: object, *, least: int = 0) -> str:
    """A key or a label. Raises UsageError."""
    if not isinstance(text, str):
        raise UsageError(f"`{name}` is no text", expected="a string", found=type(text).__name__)
    if not least <= len(text) <= KEY_LENGTH:
        raise UsageError(
            f"`{name}` has the wrong length", expected=f"{least} to {KEY_LENGTH} characters", found=len(text)
        )
    _check_characters(name, text)
    return text


def _check_characters(name: str, text: str) -> None:
    """What neither SQLite's text functions nor UTF-8 can carry."""
    wrong = next((c for c in text if c == "\0" or "\ud800" <= c <= "\udfff"), None)
    if wrong is not None:
        raise UsageError(
            f"`{name}` has a character that can not be kept",
            expected="no NUL and no half of a pair",
            found=ascii(wrong),
        )


def parse_json(name: str, text: str | bytes) -> Any:
    """JSON as RFC 8259 has it. Raises UsageError."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"`{name}` is no JSON", expected="JSON in UTF-8", found=reason[:200]) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def check_metadata(value: object) -> dict[str, Any]:
    """The metadata of an item. Raises UsageError."""
    if not isinstance(value, dict):
        raise UsageError(
            "`metadata` is no object", expected='a JSON object such as {"price": 3}', found=type(value).__name__
        )
    _check_value(value, DEPTH)
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > METADATA_BYTES:
        raise UsageError("`metadata` is too large", expected=f"at most {METADATA_BYTES} bytes of JSON", found=size)
    return value


def _check_value(value: object, depth: int) -> None:
    if depth < 0:
        raise UsageError("`metadata` is too deep", expected=f"at most {DEPTH} objects and lists inside each other")
    if isinstance(value, str):
        _check_characters("metadata", value)
    elif isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise UsageError("`metadata` has a number that is too large", expected="numbers that fit 64-bit floats")
    elif isinstance(value, dict):
        for name, each in value.items():
            _check_characters("metadata", name)
            _check_value(each, depth - 1)
    elif isinstance(value, list):
        for each in value:
            _check_value(each, depth - 1)
