"""Each route as a value: what is sent, and how its answer is read. Shared by the sync and the async client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar

from service.client_answers import (
    Added,
    ClassifyAnswer,
    Compaction,
    Example,
    IndexState,
    Item,
    ItemPage,
    ProblemError,
    SearchAnswer,
    make,
    make_added,
    make_batch,
    make_classes,
    make_page,
    make_search,
)

Answer = TypeVar("Answer")
Picture = bytes | str | PathLike[str]  # the bytes of a picture file, or where it is
Parts = list[tuple[str, tuple[str | None, bytes]]]
_MANY = 100  # pictures a request
_MANY_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[bytes], Answer]
    params: Mapping[str, Any] = field(default_factory=dict)
    parts: Parts = field(default_factory=list)
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """What a search asks besides its pictures; the fields are those of `POST /v1/search`."""

    k: int | None = None
    negatives: Sequence[Picture] = ()
    positive_ids: Sequence[int] = ()
    negative_ids: Sequence[int] = ()
    strategy: str | None = None  # average or best
    crop: tuple[int, int, int, int] | None = None  # x, y, w, h
    min_score: float | None = None
    min_probability: float | None = None
    exclude_ids: Sequence[int] = ()
    cursor: str | None = None

    @property
    def params(self) -> dict[str, Any]:
        """The query parameters, those that are not said left out."""
        crop = ",".join(map(str, self.crop)) if self.crop else None
        return _said(
            k=self.k,
            positive_id=list(self.positive_ids) or None,
            negative_id=list(self.negative_ids) or None,
            strategy=self.strategy,
            crop=crop,
            min_score=self.min_score,
            min_probability=self.min_probability,
            exclude_id=list(self.exclude_ids) or None,
            cursor=self.cursor,
        )


@dataclass(frozen=True)
class NewItem:
    """An item to be added; what is None is not sent."""

    key: str
    image: Picture
    label: str | None = None
    metadata: Mapping[str, Any] | None = None


def search(images: Sequence[Picture], asked: Search) -> Call[SearchAnswer]:
    """`POST /v1/search`."""
    parts = [*_files("image", images), *_files("negative_image", asked.negatives)]
    return Call("POST", "/v1/search", _json(make_search), asked.params, parts)


def search_batch(images: Sequence[Picture], asked: Search) -> Call[list[SearchAnswer | ProblemError]]:
    """`POST /v1/search/batch`."""
    return Call("POST", "/v1/search/batch", _json(make_batch), asked.params, _files("image", images))


def classify(images: Sequence[Picture], k: int | None, min_probability: float | None) -> Call[ClassifyAnswer]:
    """`POST /v1/classify`."""
    params = _said(k=k, min_probability=min_probability)
    return Call("POST", "/v1/classify", _json(make_classes), params, _files("image", images))


def add(item: NewItem, *, replace: bool) -> Call[Item]:
    """`POST /v1/items`."""
    return Call("POST", "/v1/items", _item, _said(replace=replace or None), list(_parts_of(item)))


def add_many(items: Iterable[NewItem], *, replace: bool) -> Iterator[Call[list[Added]]]:
    """`POST /v1/items/batch`, a bounded request at a time."""
    parts: Parts = []
    pictures = size = 0
    for item in items:
        parts += _parts_of(item)
        pictures, size = pictures + 1, size + len(parts[-1][1][1])
        if pictures == _MANY or size >= _MANY_BYTES:
            yield _bulk(parts, replace)
            parts, pictures, size = [], 0, 0
    if parts:
        yield _bulk(parts, replace)


def _bulk(parts: Parts, replace: bool) -> Call[list[Added]]:
    def read(data: bytes) -> list[Added]:
        return [make_added(json.loads(line)) for line in data.splitlines()]

    return Call("POST", "/v1/items/batch", read, _said(replace=replace or None), parts)


def change(id_: int, changes: Mapping[str, Any], if_version: int | None) -> Call[Item]:
    """`PATCH /v1/items/{id}`."""
    headers = {"Content-Type": "application/merge-patch+json", **_if_match(if_version)}
    content = json.dumps(changes, allow_nan=False).encode()
    return Call("PATCH", f"/v1/items/{id_}", _item, content=content, headers=headers)


def remove(id_: int, if_version: int | None) -> Call[None]:
    """`DELETE /v1/items/{id}`."""
    return Call("DELETE", f"/v1/items/{id_}", lambda _: None, headers=_if_match(if_version))


def item(id_: int) -> Call[Item]:
    """`GET /v1/items/{id}`."""
    return Call("GET", f"/v1/items/{id_}", _item)


def items(limit: int | None, cursor: str | None, key: str | None) -> Call[ItemPage]:
    """`GET /v1/items`."""
    return Call("GET", "/v1/items", _json(make_page), _said(limit=limit, cursor=cursor, key=key))


def picture(id_: int, kind: str) -> Call[bytes]:
    """`GET /v1/items/{id}/image` or `/thumbnail`."""
    return Call("GET", f"/v1/items/{id_}/{kind}", bytes)


def examples(n: int | None) -> Call[list[Example]]:
    """`GET /v1/examples`."""
    return Call("GET", "/v1/examples", _json(lambda a: [make(Example, one) for one in a["items"]]), _said(n=n))


def index(method: str, path: str) -> Call[IndexState]:
    """`GET /v1/index` or `POST /v1/index/reload`."""
    return Call(method, path, _json(lambda answer: make(IndexState, answer)))


def compact() -> Call[Compaction]:
    """`POST /v1/index/compact`."""
    return Call("POST", "/v1/index/compact", _json(lambda answer: make(Compaction, answer)))


def _json(read: Callable[[Any], Answer]) -> Callable[[bytes], Answer]:
    return lambda data: read(json.loads(data))


def _item(data: bytes) -> Item:
    return make(Item, json.loads(data))


def _said(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _if_match(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}


def _files(name: str, pictures: Sequence[Picture]) -> Parts:
    return [(name, ("picture", _read(each))) for each in pictures]


def _read(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else Path(picture).read_bytes()


def _parts_of(item: NewItem) -> Iterator[tuple[str, tuple[str | None, bytes]]]:
    yield "key", (None, item.key.encode())
    if item.label is not None:
        yield "label", (None, item.label.encode())
    if item.metadata is not None:
        yield "metadata", (None, json.dumps(item.metadata, allow_nan=False).encode())
    yield "image", ("picture", _read(item.image))
