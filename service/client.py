"""A typed client of the HTTP interface: sync and async. It needs httpx and the three `service/client*.py` files alone.

    with Client("http://127.0.0.1:8000", key="...") as client:
        for result in client.search("photo.jpg", k=5).results:
            print(result.score, result.key)

Answers are frozen dataclasses, refusals are exceptions of the tree in `service.client_answers`. A 429 or 503 is asked
again after its `Retry-After`, a bounded number of times: every route may be, since writes are idempotent by key.
What may change here: convenience. Not: that nothing of `index` or of the server is imported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType, TracebackType
from typing import Any, Self, TypeVar

import httpx

from service import client_calls as calls
from service.client_answers import (
    Added,
    AnswerError,
    ClassifyAnswer,
    ClientError,
    Compaction,
    ConnectionFailedError,
    Example,
    IndexState,
    Item,
    ItemPage,
    ProblemError,
    SearchAnswer,
    make_problem,
)
from service.client_calls import Call, NewItem, Picture, Search

__all__ = ["AsyncClient", "Client", "ClientError", "NewItem", "ProblemError", "Retries", "Search"]

Answer = TypeVar("Answer")
_RETRIED = (429, 503)


@dataclass(frozen=True)
class Retries:
    """How often, and for how long, a busy service is asked again."""

    attempts: int = 4  # requests in all
    longest_wait: float = 30.0  # seconds; a longer `Retry-After` is not waited for

    def wait_after(self, error: ProblemError, attempt: int) -> float | None:
        """Seconds until the next attempt; None: there is none."""
        if attempt >= self.attempts or error.status not in _RETRIED or error.retry_after is None:
            return None
        return error.retry_after if error.retry_after <= self.longest_wait else None


def _connect(key: str | None, timeout: float) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"headers": headers, "timeout": timeout}


def _send(call: Call[Any]) -> dict[str, Any]:
    """What httpx takes."""
    sent: dict[str, Any] = {"params": call.params, "headers": call.headers, "content": call.content}
    return sent | ({"files": call.parts} if call.parts else {})


def _read(call: Call[Answer], response: httpx.Response) -> Answer:
    """The answer. Raises ProblemError or AnswerError."""
    try:
        if response.is_success:
            return call.read(response.content)
        problem = make_problem(response.json(), _read_seconds(response.headers.get("retry-after")))
    except (ValueError, KeyError, TypeError) as error:
        raise AnswerError(f"{response.status_code} from {response.url}: not an answer of Crossmatch") from error
    raise problem


def _read_seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _changes(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not ...}


class Client:
    """Asks one service; safe to use from several threads."""

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        """`timeout`: seconds that each step of a request may take."""
        self._retries = retries or Retries()
        self._http = httpx.Client(base_url=url, **_connect(key, timeout))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, call: Call[Answer]) -> Answer:
        """Raises ConnectionFailedError, AnswerError or ProblemError."""
        attempt = 1
        while True:
            try:
                response = self._http.request(call.method, call.path, **_send(call))
            except httpx.HTTPError as error:
                raise ConnectionFailedError(f"{call.method} {call.path}: {error}") from error
            try:
                return _read(call, response)
            except ProblemError as problem:
                if (wait := self._retries.wait_after(problem, attempt)) is None:
                    raise
            time.sleep(wait)
            attempt += 1

    def search(self, *images: Picture, **asked: Any) -> SearchAnswer:
        """Items that look like `images`, views of one thing; `asked`: the fields of `Search`."""
        return self._ask(calls.search(images, Search(**asked)))

    def search_pages(self, *images: Picture, **asked: Any) -> Iterator[SearchAnswer]:
        """Every page of a search."""
        cursor: str | None = asked.pop("cursor", None)
        while True:
            answer = self.search(*images, cursor=cursor, **asked)
            yield answer
            if (cursor := answer.next_cursor) is None:
                return

    def search_batch(self, images: Sequence[Picture], **asked: Any) -> list[SearchAnswer | ProblemError]:
        """An answer or a problem for each picture; `asked`: k, min_score, min_probability, exclude_ids."""
        return self._ask(calls.search_batch(images, Search(**asked)))

    def classify(self, *images: Picture, k: int | None = None, min_probability: float | None = None) -> ClassifyAnswer:
        """What the pictures, views of one thing, show."""
        return self._ask(calls.classify(images, k, min_probability))

    def add(self, item: NewItem, *, replace: bool = False) -> Item:
        """Add an item; durable when this returns. Raises ConflictError for other content under its key."""
        return self._ask(calls.add(item, replace=replace))

    def add_many(self, items: Iterable[NewItem], *, replace: bool = False) -> Iterator[Added]:
        """Add many; what came of each, in their order."""
        for call in calls.add_many(items, replace=replace):
            yield from self._ask(call)

    def change(
        self,
        id: int,  # noqa: A002
        *,
        key: str | EllipsisType = ...,
        label: str | EllipsisType | None = ...,
        metadata: Mapping[str, Any] | EllipsisType | None = ...,
        if_version: int | None = None,
    ) -> Item:
        """Other fields for an item; metadata is merged. Raises VersionError if it is not at `if_version`."""
        return self._ask(calls.change(id, _changes(key=key, label=label, metadata=metadata), if_version))

    def remove(self, id: int, *, if_version: int | None = None) -> None:  # noqa: A002
        """Remove an item. Raises NotFoundError or VersionError."""
        self._ask(calls.remove(id, if_version))

    def item(self, id: int) -> Item:  # noqa: A002
        """An item. Raises NotFoundError."""
        return self._ask(calls.item(id))

    def find(self, key: str) -> Item | None:
        """An item by its key."""
        return next(iter(self._ask(calls.items(None, None, key)).items), None)

    def items(self, limit: int | None = None, cursor: str | None = None) -> ItemPage:
        """A page of items."""
        return self._ask(calls.items(limit, cursor, None))

    def image(self, id: int) -> bytes:  # noqa: A002
        """An item's picture."""
        return self._ask(calls.picture(id, "image"))

    def thumbnail(self, id: int) -> bytes:  # noqa: A002
        """An item's picture at 256 pixels."""
        return self._ask(calls.picture(id, "thumbnail"))

    def examples(self, n: int | None = None) -> list[Example]:
        """A few items to begin with."""
        return self._ask(calls.examples(n))

    def index(self) -> IndexState:
        """What the index holds."""
        return self._ask(calls.index("GET", "/v1/index"))

    def reload(self) -> IndexState:
        """Catch up with other processes, now."""
        return self._ask(calls.index("POST", "/v1/index/reload"))

    def compact(self) -> Compaction:
        """Seal what is unsealed, and give back room. Raises ConflictError while a compaction runs."""
        return self._ask(calls.compact())


class AsyncClient:
    """Asks one service; from one event loop."""

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        """`timeout`: seconds that each step of a request may take."""
        self._retries = retries or Retries()
        self._http = httpx.AsyncClient(base_url=url, **_connect(key, timeout))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, call: Call[Answer]) -> Answer:
        """Raises ConnectionFailedError, AnswerError or ProblemError."""
        attempt = 1
        while True:
            try:
                response = await self._http.request(call.method, call.path, **_send(call))
            except httpx.HTTPError as error:
                raise ConnectionFailedError(f"{call.method} {call.path}: {error}") from error
            try:
                return _read(call, response)
            except ProblemError as problem:
                if (wait := self._retries.wait_after(problem, attempt)) is None:
                    raise
            await asyncio.sleep(wait)
            attempt += 1

    async def search(self, *images: Picture, **asked: Any) -> SearchAnswer:
        """Items that look like `images`, views of one thing; `asked`: the fields of `Search`."""
        return await self._ask(calls.search(images, Search(**asked)))

    async def search_pages(self, *images: Picture, **asked: Any) -> AsyncIterator[SearchAnswer]:
        """Every page of a search."""
        cursor: str | None = asked.pop("cursor", None)
        while True:
            answer = await self.search(*images, cursor=cursor, **asked)
            yield answer
            if (cursor := answer.next_cursor) is None:
                return

    async def search_batch(self, images: Sequence[Picture], **asked: Any) -> list[SearchAnswer | ProblemError]:
        """An answer or a problem for each picture; `asked`: k, min_score, min_probability, exclude_ids."""
        return await self._ask(calls.search_batch(images, Search(**asked)))

    async def classify(
        self, *images: Picture, k: int | None = None, min_probability: float | None = None
    ) -> ClassifyAnswer:
        """What the pictures, views of one thing, show."""
        return await self._ask(calls.classify(images, k, min_probability))

    async def add(self, item: NewItem, *, replace: bool = False) -> Item:
        """Add an item; durable when this returns. Raises ConflictError for other content under its key."""
        return await self._ask(calls.add(item, replace=replace))

    async def add_many(self, items: Iterable[NewItem], *, replace: bool = False) -> AsyncIterator[Added]:
        """Add many; what came of each, in their order."""
        for call in calls.add_many(items, replace=replace):
            for added in await self._ask(call):
                yield added

    async def change(
        self,
        id: int,  # noqa: A002
        *,
        key: str | EllipsisType = ...,
        label: str | EllipsisType | None = ...,
        metadata: Mapping[str, Any] | EllipsisType | None = ...,
        if_version: int | None = None,
    ) -> Item:
        """Other fields for an item; metadata is merged. Raises VersionError if it is not at `if_version`."""
        return await self._ask(calls.change(id, _changes(key=key, label=label, metadata=metadata), if_version))

    async def remove(self, id: int, *, if_version: int | None = None) -> None:  # noqa: A002
        """Remove an item. Raises NotFoundError or VersionError."""
        await self._ask(calls.remove(id, if_version))

    async def item(self, id: int) -> Item:  # noqa: A002
        """An item. Raises NotFoundError."""
        return await self._ask(calls.item(id))

    async def find(self, key: str) -> Item | None:
        """An item by its key."""
        return next(iter((await self._ask(calls.items(None, None, key))).items), None)

    async def items(self, limit: int | None = None, cursor: str | None = None) -> ItemPage:
        """A page of items."""
        return await self._ask(calls.items(limit, cursor, None))

    async def image(self, id: int) -> bytes:  # noqa: A002
        """An item's picture."""
        return await self._ask(calls.picture(id, "image"))

    async def thumbnail(self, id: int) -> bytes:  # noqa: A002
        """An item's picture at 256 pixels."""
        return await self._ask(calls.picture(id, "thumbnail"))

    async def examples(self, n: int | None = None) -> list[Example]:
        """A few items to begin with."""
        return await self._ask(calls.examples(n))

    async def index(self) -> IndexState:
        """What the index holds."""
        return await self._ask(calls.index("GET", "/v1/index"))

    async def reload(self) -> IndexState:
        """Catch up with other processes, now."""
        return await self._ask(calls.index("POST", "/v1/index/reload"))

    async def compact(self) -> Compaction:
        """Seal what is unsealed, and give back room. Raises ConflictError while a compaction runs."""
        return await self._ask(calls.compact())
