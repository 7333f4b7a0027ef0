"""A stream of parts -> a stream of answers, one a picture as soon as it is durable, in the order they came.

Fields `key`, `label` and `metadata` belong to the next file `image`. A few pictures are encoded ahead; answers wait in
a bounded queue while the client still sends, so that one which reads only at the end is not waited for.
What may change here: how many are encoded ahead. Not: that memory is bounded, and that each line is a durable truth.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from index.item_changes import NewItem
from index.writer import EncodedPicture
from service.bodies import make_new_item
from service.engine import Engine
from service.misspelling import refuse_unknown
from service.parts import Part
from service.problems import BadFormError, DeadlineError, WorkerDiedError, explain_error
from service.writes import encode, put, status_of_outcome

_AHEAD = 4  # pictures in memory that are being encoded
_LINES = 10_000  # answers that the client has not read yet
_PATIENCE = 10  # attempts at a picture that finds no thread within its deadline
_FIELDS = ("key", "label", "metadata")


@dataclass(frozen=True)
class _Entry:
    """A picture that came in, and the encoding of it."""

    number: int
    key: str | None
    new: NewItem | Exception
    data: bytes
    encoding: asyncio.Task[EncodedPicture] | None


class BulkAnswer(Response):
    """Reads the body while it sends: Starlette's own streaming answer would take the body's messages away."""

    media_type = "application/x-ndjson"

    def __init__(self, engine: Engine, parts: AsyncIterator[Part], *, replace: bool) -> None:
        super().__init__(status_code=200)
        del self.headers["content-length"]
        self._engine, self._parts, self._replace = engine, parts, replace
        self._encodings: set[asyncio.Task[EncodedPicture]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a line for each picture, and one that has no number if the body breaks off."""
        lines: asyncio.Queue[bytes | None] = asyncio.Queue(_LINES)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        entries: asyncio.Queue[_Entry | Exception | None] = asyncio.Queue(_AHEAD)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(entries))
                tasks.create_task(self._work(entries, lines))
                while (line := await lines.get()) is not None:
                    await send({"type": "http.response.body", "body": line, "more_body": True})
                reading.cancel()  # after a failure of ours, nobody takes what still comes in
        finally:
            for encoding in self._encodings:  # the client has gone
                encoding.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read(self, entries: asyncio.Queue[_Entry | Exception | None]) -> None:
        """Begin to encode each picture as it comes in, a few ahead of the one that is being written."""
        try:
            async for entry in self._enter():
                await entries.put(entry)
        except Exception as error:  # the body broke off: what came before is written and told
            await entries.put(error)
        await entries.put(None)

    async def _work(
        self, entries: asyncio.Queue[_Entry | Exception | None], lines: asyncio.Queue[bytes | None]
    ) -> None:
        """Write each in its turn."""
        while (entry := await entries.get()) is not None:
            await lines.put(_line(None, None, entry) if isinstance(entry, Exception) else await self._write(entry))
        await lines.put(None)

    async def _enter(self) -> AsyncIterator[_Entry]:
        fields: dict[str, str] = {}
        number = 0
        async for part in self._parts:
            if part.is_file and part.name == "image":
                number += 1
                yield self._begin(number, fields, part)
                fields = {}
            elif not part.is_file and part.name in _FIELDS:
                fields[part.name] = part.text()
            else:
                known = ("image",) if part.is_file else _FIELDS
                raise refuse_unknown("file" if part.is_file else "text field", part.name, known)
        if fields or not number:
            raise BadFormError("the form ends without a file `image`", found=", ".join(fields) or "no part")

    def _begin(self, number: int, fields: dict[str, str], part: Part) -> _Entry:
        key = fields.get("key", part.filename)
        try:
            new = make_new_item(key, fields.get("label"), fields.get("metadata"), replace=self._replace)
        except Exception as error:
            return _Entry(number, key, error, b"", None)
        encoding = asyncio.create_task(_encode_in_time(self._engine, part.data))
        self._encodings.add(encoding)
        encoding.add_done_callback(self._forget)
        return _Entry(number, key, new, part.data, encoding)

    def _forget(self, encoding: asyncio.Task[EncodedPicture]) -> None:
        """Where the answer broke off, nobody else asks what became of it."""
        self._encodings.discard(encoding)
        if not encoding.cancelled():
            encoding.exception()

    async def _write(self, entry: _Entry) -> bytes:
        try:
            if isinstance(entry.new, Exception) or entry.encoding is None:
                raise entry.new if isinstance(entry.new, Exception) else AssertionError
            outcome, item = await put(self._engine, entry.new, entry.data, await entry.encoding)
        except Exception as error:
            return _line(entry.number, entry.key, error)
        answer = {"number": entry.number, "key": entry.key, "status": status_of_outcome(outcome)}
        return _encode({**answer, "id": item.id, "version": item.version, "problem": None})


async def _encode_in_time(engine: Engine, data: bytes) -> EncodedPicture:
    """Encode once there is a thread for it: a stream has time, and waits while searches fill the queue."""
    for _ in range(_PATIENCE):
        try:
            return await encode(engine, data)
        except (DeadlineError, WorkerDiedError):
            await asyncio.sleep(1.0)
    return await encode(engine, data)


def _line(number: int | None, key: str | None, error: Exception) -> bytes:
    problem = explain_error(error)
    answer = {"number": number, "key": key, "status": problem.status, "id": None, "version": None}
    return _encode({**answer, "problem": problem.model_dump()})


def _encode(answer: dict[str, Any]) -> bytes:
    return (json.dumps(answer, ensure_ascii=False) + "\n").encode()
