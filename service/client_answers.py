"""What the client answers with, and every error that it raises, in one tree. Needs nothing but the standard library.

    ClientError                     something failed
     |- ConnectionFailedError       no answer came: refused, timed out, broken off
     |- AnswerError                 an answer came that is not this interface's
     `- ProblemError                the service said no: `status`, `title`, `detail`
         |- RefusedError            the request does not fit: 400, 405, 408, 410, 413, 415, 421, 422
         |- NotAllowedError         401, 403: no key, one that may not, or a read-only index
         |- NotFoundError           404
         |- ConflictError           409: the key is taken, or a compaction runs
         |- VersionError            412: the item has changed
         |- BusyError               429, after the last attempt
         `- UnavailableError        5xx, after the last attempt

Answers have the fields of `docs/http-api.md`; fields that a newer service adds are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

Value = TypeVar("Value")


class ClientError(Exception):
    """Something failed."""


class ConnectionFailedError(ClientError):
    """No answer came."""


class AnswerError(ClientError):
    """An answer came that is not this interface's."""


class ProblemError(ClientError):
    """The service said no, in an RFC 9457 problem document."""

    def __init__(self, status: int, title: str, detail: str, retry_after: float | None = None) -> None:
        """`retry_after`: seconds after which asking again may help."""
        self.status, self.title, self.detail, self.retry_after = status, title, detail, retry_after
        super().__init__(f"{status} {title}: {detail}")


class RefusedError(ProblemError):
    """The request does not fit."""


class NotAllowedError(ProblemError):
    """No key, one that may not do this, or a read-only index."""


class NotFoundError(ProblemError):
    """No such item."""


class ConflictError(ProblemError):
    """The key is taken, or a compaction runs."""


class VersionError(ProblemError):
    """The item is not at the version that was named."""


class BusyError(ProblemError):
    """Too many requests, after the last attempt."""


class UnavailableError(ProblemError):
    """The service or its index can not answer now, after the last attempt."""


_KINDS: Mapping[int, type[ProblemError]] = {
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
    412: VersionError,
    429: BusyError,
}


def make_problem(problem: Mapping[str, Any], retry_after: float | None = None) -> ProblemError:
    """The error that a problem document is."""
    status = int(problem["status"])
    kind = _KINDS.get(status, UnavailableError if status >= 500 else RefusedError)
    return kind(status, str(problem["title"]), str(problem["detail"]), retry_after)


@dataclass(frozen=True)
class IndexState:
    """What gave an answer."""

    generation: str
    model: str
    size: int  # items
    recall: float | None = None  # of the sealed snapshot; with a search, not told
    building: dict[str, int] | None = None
    attribution: str | None = None


@dataclass(frozen=True)
class Result:
    """An item that a search found."""

    id: int
    key: str
    label: str | None
    score: float  # cosine
    probability: float | None  # None without a calibration
    metadata: dict[str, Any]
    image_url: str


@dataclass(frozen=True)
class SearchAnswer:
    """Items nearest to what was asked for, best first."""

    results: tuple[Result, ...]
    index: IndexState
    next_cursor: str | None
    took_ms: float


@dataclass(frozen=True)
class ClassVote:
    """One label that neighbours have."""

    label: str
    votes: int
    share: float
    probability: float | None
    score: float
    item: int


@dataclass(frozen=True)
class ClassifyAnswer:
    """What a picture shows."""

    label: str | None
    none_of_these: bool | None
    classes: tuple[ClassVote, ...]
    index: IndexState
    took_ms: float


@dataclass(frozen=True)
class Item:
    """One item; `version` is what `if_version` takes."""

    id: int
    key: str
    label: str | None
    metadata: dict[str, Any]
    version: int
    image_url: str
    thumbnail_url: str


@dataclass(frozen=True)
class ItemPage:
    """Items by ascending id."""

    items: tuple[Item, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Example:
    """An item to begin with."""

    id: int
    key: str
    label: str | None


@dataclass(frozen=True)
class Added:
    """What came of one picture of many."""

    number: int | None  # in its request, from 1 on; None: the request broke off
    key: str | None
    status: int
    id: int | None = None
    version: int | None = None
    problem: ProblemError | None = None


@dataclass(frozen=True)
class Compaction:
    """What a compaction left."""

    pictures: int
    recall: float | None
    freed: int  # bytes
    cleared: list[str] = field(default_factory=list)


def make(kind: type[Value], values: Mapping[str, Any]) -> Value:
    """A value of one of these classes from JSON. Raises AnswerError where a field is missing."""
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: value for name, value in values.items() if name in known})
    except TypeError as error:
        raise AnswerError(f"not the answer of this interface: {error}") from error


def make_search(answer: Mapping[str, Any]) -> SearchAnswer:
    """The answer to a search."""
    results = tuple(make(Result, each) for each in answer["results"])
    index = make(IndexState, answer["index"])
    return SearchAnswer(results, index, answer["next_cursor"], answer["took_ms"])


def make_classes(answer: Mapping[str, Any]) -> ClassifyAnswer:
    """The answer to a classification."""
    classes = tuple(make(ClassVote, each) for each in answer["classes"])
    return make(ClassifyAnswer, {**answer, "classes": classes, "index": make(IndexState, answer["index"])})


def make_page(answer: Mapping[str, Any]) -> ItemPage:
    """A page of items."""
    return ItemPage(tuple(make(Item, each) for each in answer["items"]), answer["next_cursor"])


def make_batch(answer: Mapping[str, Any]) -> list[SearchAnswer | ProblemError]:
    """An answer, or the problem, for each query."""
    return [
        make_search(each["answer"]) if each["problem"] is None else make_problem(each["problem"])
        for each in answer["answers"]
    ]


def make_added(line: Mapping[str, Any]) -> Added:
    """One line of the answer to many items."""
    problem = None if line["problem"] is None else make_problem(line["problem"])
    return make(Added, {**line, "problem": problem})
