"""Large answers wait for their turn, and a turn ends however its answer does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from starlette.responses import Response
from starlette.types import Message

from service.problems import DeadlineError
from service.turns import Turns


async def make(text: str = "x") -> Response:
    return Response(text)


async def receive() -> Message:
    raise AssertionError("nothing is to be received")


def sending(fail: bool, sent: list[bytes]) -> Callable[[Message], asyncio.Future[None]]:
    async def send(message: Message) -> None:
        if fail:
            raise ConnectionError
        sent.append(message.get("body", b""))

    return send  # type: ignore[return-value]


def test_no_more_than_there_are_turns() -> None:
    async def check() -> None:
        turns = Turns("lists", 2, 0.05)
        first, _ = [await turns.answer(make) for _ in range(2)]
        with pytest.raises(DeadlineError, match="too many lists"):
            await turns.answer(make)
        sent: list[bytes] = []
        await first({"type": "http"}, receive, sending(False, sent))
        assert b"".join(sent) == b"x"
        await turns.answer(make)

    asyncio.run(check())


def test_a_failure_gives_its_turn_back() -> None:
    async def fail() -> Response:
        raise ValueError

    async def check() -> None:
        turns = Turns("lists", 1, 0.05)
        with pytest.raises(ValueError):  # noqa: PT011
            await turns.answer(fail)
        answer = await turns.answer(make)
        with pytest.raises(ConnectionError):  # the client went away
            await answer({"type": "http"}, receive, sending(True, []))
        await turns.answer(make)

    asyncio.run(check())
