"""A file over HTTP that goes on where it was cut off, and is checked when it is whole.

`NAME.part` holds what has come, `NAME.part.json` where from; the server's ETag or date (`If-Range`) proves that both
halves are of one file. What may change here: how often is tried. What may not: a file under its own name is whole.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from index.errors import CrossmatchError

_CHUNK = 2**20
_SECONDS = 60.0  # without a byte, after which a connection is given up
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Origin:
    """A file that is fetched: its name, where it is offered, and what is known of it beforehand."""

    name: str
    addresses: tuple[str, ...]
    md5: str | None = None  # as its publishers and other loaders give it; None where none is known
    bytes: int | None = None


@dataclass(frozen=True)
class Patience:
    """How often a server that sends nothing more is asked again, and after how many seconds first."""

    attempts: int = 5
    wait: float = 1.0


class _GoneError(CrossmatchError):
    """This address will not give the file."""


def download(origin: Origin, folder: Path, on_progress: Progress, patience: Patience | None = None) -> Path:
    """`folder`/NAME, whole and checked; what is there already is not fetched again.

    Raises CrossmatchError where no address gives the file, or it is another one. What has come is kept.
    """
    target = folder / origin.name
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = _Part(folder, origin, on_progress)
        _fetch_anywhere(part, patience or Patience())
        _check(part)
        part.path.rename(target)
        part.state_path.unlink(missing_ok=True)
    return target


def file_md5(path: Path) -> str:
    """The MD5 of a file, in hexadecimal: the only digest that the data sets' publishers and loaders give."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class _Part:
    """A file on its way."""

    def __init__(self, folder: Path, origin: Origin, on_progress: Progress) -> None:
        self.origin = origin
        self.path = folder / f"{origin.name}.part"
        self.state_path = folder / f"{origin.name}.part.json"
        self.on_progress = on_progress

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def read_validator(self, address: str) -> str | None:
        """What proves that more of `address` belongs to what is here; None where nothing does."""
        try:
            state = json.loads(self.state_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return state.get("validator") if isinstance(state, dict) and state.get("address") == address else None

    def write_state(self, address: str, headers: Message) -> None:
        etag = headers.get("ETag")
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        self.state_path.write_text(json.dumps({"address": address, "validator": validator}), encoding="utf-8")


def _fetch_anywhere(part: _Part, patience: Patience) -> None:
    gone: list[_GoneError] = []
    for address in part.origin.addresses:
        try:
            return _fetch(address, part, patience)
        except _GoneError as error:
            gone.append(error)
    raise gone[-1]


def _fetch(address: str, part: _Part, patience: Patience) -> None:
    """Ask until the file is whole; only attempts that bring nothing are counted."""
    failures = 0
    while True:
        before = part.size
        try:
            return _stream(address, part)
        except (OSError, http.client.HTTPException) as error:
            failures = failures + 1 if part.size <= before else 0
            if failures >= patience.attempts or not _may_pass(error):
                raise _GoneError(
                    "can not be downloaded",
                    where=address,
                    found=getattr(error, "reason", None) or error or type(error).__name__,
                    remedy=f"the same command goes on after {part.size} bytes; or give the file with --archive",
                ) from error
            time.sleep(patience.wait * 2**failures)


def _may_pass(error: Exception) -> bool:
    """Whether asking again may help."""
    return not isinstance(error, urllib.error.HTTPError) or error.code in (408, 416, 429) or error.code >= 500


def _stream(address: str, part: _Part) -> None:
    """What is missing, in one connection. Raises OSError or HTTPException where it ends too early."""
    validator = part.read_validator(address)
    offset = part.size if validator else 0
    headers = {"User-Agent": "crossmatch", "Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": str(validator)}
    try:
        response: Any = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing comes after what is here: it was whole, or of another file
            part.state_path.unlink(missing_ok=True)
            if error.headers.get("Content-Range") == f"bytes */{offset}":
                return
        raise
    with response:
        if response.status != 206 or not str(response.headers.get("Content-Range")).startswith(f"bytes {offset}-"):
            offset = 0
        part.write_state(address, response.headers)
        total = _read_total(response.headers, offset)
        _check_total(address, part.origin, total)
        _check_room(part, (total or 0) - offset)
        with part.path.open("r+b" if offset else "wb", buffering=0) as file:
            file.seek(offset)
            _copy(response, file, total, part)
    if total is not None and part.size != total:
        raise ConnectionError(f"cut off after {part.size} of {total} bytes")


def _read_total(headers: Message, offset: int) -> int | None:
    length = headers.get("Content-Length")
    return offset + int(length) if length and length.isdecimal() else None


def _check_total(address: str, origin: Origin, total: int | None) -> None:
    if origin.bytes and total and total != origin.bytes:
        raise _GoneError(
            "another file is offered there", where=address, expected=f"{origin.bytes} bytes", found=f"{total} bytes"
        )


def _check_room(part: _Part, missing: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if missing > free:
        raise CrossmatchError(
            "no room for the download",
            where=part.path.parent,
            expected=f"{missing} bytes",
            found=f"{free} bytes",
            remedy="make room, and as much again for what is in it",
        )


def _copy(response: http.client.HTTPResponse, file: IO[bytes], total: int | None, part: _Part) -> None:
    while chunk := response.read1(_CHUNK):
        file.write(chunk)
        part.on_progress(file.tell(), total or 0)


def _check(part: _Part) -> None:
    """Raises CrossmatchError for another file than the expected one, which is not kept: more would not mend it."""
    origin = part.origin
    wrong = origin.bytes is not None and part.size != origin.bytes
    expected, found = f"{origin.bytes} bytes", f"{part.size} bytes"
    if origin.md5 and not wrong:
        expected, found = f"MD5 {origin.md5}", f"MD5 {file_md5(part.path)}"
        wrong = expected != found
    if wrong:
        for path in (part.path, part.state_path):
            path.unlink(missing_ok=True)
        raise CrossmatchError(
            "not the file that it should be",
            where=origin.name,
            expected=expected,
            found=found,
            remedy="it was removed; try again, or give the file with --archive",
        )
