"""The fields of items in forms and JSON bodies -> checked values, and versions in `If-Match`.

What may change here: wording. Not: that whatever does not fit is refused before anything is encoded.
"""

from __future__ import annotations

import re
from types import EllipsisType
from typing import Any

from fastapi import Request

from index.errors import UsageError
from index.item_changes import ItemChange, NewItem, check_metadata, check_text, parse_json
from service.misspelling import refuse_unknown
from service.problems import BadFormError, BodyTooLargeError, UnsupportedBodyError

_JSON_BYTES = 256 * 2**10
_MEMBERS = frozenset(("key", "label", "metadata"))
_JSON_TYPES = ("application/json", "application/merge-patch+json")


def make_new_item(key: str | None, label: str | None, metadata: str | None, *, replace: bool) -> NewItem:
    """An item from the text fields of a form, None where one is not there. Raises UsageError."""
    if key is None:
        raise BadFormError("there is no field `key` in the form", expected="the item's name")
    return NewItem(
        check_text("key", key, least=1),
        ... if label is None else check_text("label", label),
        ... if metadata is None else check_metadata(parse_json("metadata", metadata)),
        replace,
    )


async def read_change(request: Request) -> ItemChange:
    """A change from a JSON body. Raises UnsupportedBodyError, BodyTooLargeError or UsageError."""
    fields = parse_json("the body", await _read_json(request))
    if not isinstance(fields, dict):
        raise BadFormError("the body is no object", expected='such as {"label": "apple"}', found=type(fields).__name__)
    if unknown := sorted(set(fields) - _MEMBERS):
        raise refuse_unknown("field", unknown[0], _MEMBERS)
    label = fields.get("label", ...)
    return ItemChange(
        check_text("key", fields["key"], least=1) if "key" in fields else ...,
        check_text("label", label) if isinstance(label, str) else _absent(label),
        _check_patch(fields["metadata"]) if "metadata" in fields else ...,
    )


def _absent(label: object) -> EllipsisType | None:
    if label is None or isinstance(label, EllipsisType):
        return label
    raise UsageError("`label` is no text", expected="a string or null", found=type(label).__name__)


def _check_patch(metadata: object) -> dict[str, Any] | None:
    return None if metadata is None else check_metadata(metadata)


async def _read_json(request: Request) -> bytes:
    kind = request.headers.get("content-type", "")
    if kind.split(";")[0].strip().lower() not in _JSON_TYPES:
        raise UnsupportedBodyError(
            "the body is not JSON", expected=" or ".join(_JSON_TYPES), found=kind[:100] or "no Content-Type"
        )
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _JSON_BYTES:
            raise BodyTooLargeError("the body has too many bytes", expected=f"at most {_JSON_BYTES}")
    return bytes(data)


def read_versions(header: str | None) -> frozenset[int] | None:
    """The versions that an `If-Match` names; None: any. A tag that is no version of ours matches nothing."""
    if header is None or header.strip() == "*":
        return None
    return frozenset(int(each) for each in re.findall(r'(?<!W/)"([1-9][0-9]{0,17})"', header))


def tag_of(version: int) -> str:
    """The `ETag` of an item at a version."""
    return f'"{version}"'
