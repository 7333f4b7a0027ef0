"""What strace wrote -> events: the order in which calls are seen to end is not the order in which they were done."""

from __future__ import annotations

import pytest

from tests.faults.disk import Named, Written
from tests.faults.recording import _TraceReader


def _hex(text: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def test_a_folder_is_used_before_the_call_that_made_it_is_seen_to_end() -> None:
    reader = _TraceReader("/r", "/a")
    reader.read(
        [
            f"7 mkdir({_hex('/r/4d')}, 0777 <unfinished ...>\n",
            f"8 openat(AT_FDCWD, {_hex('/r/4d/x')}, O_WRONLY|O_CREAT, 0666) = 5\n",
            "7 <... mkdir resumed>) = 0\n",
            f"8 write(5, {_hex('hello')}, 5) = 5\n",
        ]
    )
    made, opened, written = reader.recording.events
    assert isinstance(made, Named)
    assert isinstance(opened, Named)
    assert written == Written(2, 0, b"hello")


def test_a_folder_that_nobody_made_is_an_error() -> None:
    with pytest.raises(KeyError, match="no call made the folder 4d"):
        _TraceReader("/r", "/a").read([f"8 openat(AT_FDCWD, {_hex('/r/4d/x')}, O_WRONLY|O_CREAT, 0666) = 5\n"])
