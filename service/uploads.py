"""The body of an upload -> its pictures and fields, counted while they stream in.

A route reads `form = await read_form(request, FormRule({"image": 8}), engine.settings)`, then `form.pictures("image")`
and `form.field("key")`. A route that takes many items in one body says `async for part in iterate_parts(request,
bulk_limits(engine.settings))` instead, deals with each part, and only then gets the next.
What may change here: which form fields there are. Not: that no body is ever held beyond its limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from fastapi import Request

from index.errors import BrokenImageError
from service.misspelling import NO_TEXT, refuse_unknown
from service.parts import Part, PartLimits, collect_parts
from service.problems import BadFormError
from service.settings import Settings

_ONE_IMAGE: Mapping[str, int] = MappingProxyType({"image": 1})


@dataclass(frozen=True)
class FormRule:
    """What a route's form may hold."""

    files: Mapping[str, int] = field(default_factory=lambda: _ONE_IMAGE)  # name -> how many at most
    required: tuple[str, ...] = ("image",)  # names of which there must be one
    texts: frozenset[str] = frozenset()  # names of text fields
    fields: int = 8  # text fields in all
    field_bytes: int = 4096  # of each of them


@dataclass(frozen=True)
class Form:
    """A form that came in whole and within its limits."""

    parts: tuple[Part, ...]

    def pictures(self, name: str) -> list[bytes]:
        """The bytes of the files of that name, in the order they came."""
        return [part.data for part in self.parts if part.is_file and part.name == name]

    def field(self, name: str) -> str | None:
        """The text field of that name, the last if there are several. Raises BadFormError if it is not UTF-8."""
        found = [part for part in self.parts if not part.is_file and part.name == name]
        return found[-1].text() if found else None

    def describe(self) -> str:
        """The names of its parts, and which of them are text."""
        names = [f"{'file' if part.is_file else 'text'} `{part.name[:40]}`" for part in self.parts]
        return ", ".join(names) or "no whole field"


async def read_form(request: Request, rule: FormRule, settings: Settings) -> Form:
    """A whole multipart form: all that `rule` allows, each picture and the body as a whole within the settings.

    Raises UnsupportedBodyError, SlowBodyError, BodyTooLargeError, BadFormError, or BrokenImageError where a file is
    empty.
    """
    limits = PartLimits(
        file_bytes=settings.limits.max_bytes,
        seconds=settings.upload_seconds,
        field_bytes=rule.field_bytes,
        files=sum(rule.files.values()),
        fields=rule.fields,
    )
    form = Form(tuple(await collect_parts(request, limits)))
    _check_files(form, rule)
    _check_texts(form, rule)
    return form


def _check_files(form: Form, rule: FormRule) -> None:
    for part in form.parts:
        if part.is_file and part.name not in rule.files:
            raise BadFormError(
                _say_missing(rule, form) or "the form has a file that is not asked for",
                expected=f"files {_list_names(rule.files)}",
                found=f"file `{part.name[:40]}`",
            )
        if part.is_file and not part.data:
            raise BrokenImageError("the picture is empty", expected="the bytes of a picture file", found="0 bytes")
    for name, most in rule.files.items():
        if len(form.pictures(name)) > most:
            raise BadFormError(f"too many files `{name}`", expected=f"at most {most}", found=len(form.pictures(name)))
    if missing := _say_missing(rule, form):
        raise BadFormError(missing, expected=f"files {_list_names(rule.files)}", found=form.describe())


def _check_texts(form: Form, rule: FormRule) -> None:
    for part in form.parts:
        if not part.is_file and part.name not in rule.texts:
            raise refuse_unknown("text field", part.name, rule.texts, "" if rule.texts else NO_TEXT)


def _say_missing(rule: FormRule, form: Form) -> str | None:
    missing = [name for name in rule.required if not form.pictures(name)]
    return f"there is no file `{missing[0]}` in the form" if missing else None


def _list_names(names: Sequence[str] | Mapping[str, int]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def bulk_limits(settings: Settings, field_bytes: int = 64 * 2**10) -> PartLimits:
    """For `iterate_parts` over a body of any length: each file, each field and the wait for each part is bounded."""
    return PartLimits(settings.limits.max_bytes, settings.upload_seconds, field_bytes, bulk=True)
