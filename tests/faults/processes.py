"""Child processes forked from a warm parent, so that three hundred of them take minutes, and what they share with it.

A child says what it has done on a page of shared memory: a store there outlives a SIGKILL, and needs no reader.
What may change here: what the page holds.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")
_SLOTS = ("acknowledged", "model", "stopping", "answers")


class Board:
    """Counters that parent and children share; each is written by one process."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()

    def read(self, name: str) -> int:
        """The counter `name`."""
        return int(struct.unpack_from("q", self._page, 8 * _SLOTS.index(name))[0])

    def write(self, name: str, value: int) -> None:
        """Set the counter `name`."""
        struct.pack_into("q", self._page, 8 * _SLOTS.index(name), value)


def fork(work: Callable[[], None], report: Path) -> int:
    """Run `work` in a child; its id. What it raises is written to `report`."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        with report.open("a", encoding="utf-8") as file:
            file.write(traceback.format_exc())
    finally:
        os._exit(status)


def kill(child: int) -> bool:
    """SIGKILL a child and wait for it; whether it was still at work."""
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def wait(child: int, seconds: float) -> bool:
    """Wait for a child to end by itself; False, and it is killed, if it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    kill(child)
    return False


def compute_apart(work: Callable[[], Value], seconds: float = 60.0) -> Value:
    """What `work` returns, computed in a child: this process opens nothing and starts no thread.

    Raises RuntimeError if the child ends without an answer, TimeoutError if it takes too long.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            answer = pickle.dumps(work())
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(answer)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        os.set_blocking(pipe.fileno(), False)
        data, end = b"", time.monotonic() + seconds
        while time.monotonic() < end:
            block = pipe.read()
            if block is None:
                time.sleep(0.001)
            elif block:
                data += block
            else:
                break
    if not wait(child, 1.0):
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    if not data:
        raise RuntimeError("the child ended without an answer")
    answer_: Value = pickle.loads(data)
    return answer_
