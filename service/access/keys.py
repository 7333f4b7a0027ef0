"""Keys of an index: made, listed, revoked, and recognised. What is stored is a SHA-256, never a key.

They lie in one JSON file of the index folder, which is put there whole. What may change here: fields, with a new
format number. Not: that a file which can not be read lets nobody in.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from index.errors import IndexDataError, UsageError
from index.layout import Layout, write_whole
from service.access.scopes import Scope

_FORMAT = 1
_PREFIX = "cmk"  # lets scanners for leaked secrets, and people, tell what it is
_NOBODY = "0" * 64  # compared where there is no such key, so that both ways take the same time


@dataclass(frozen=True)
class Key:
    """What is stored of a key."""

    id: str  # 8 hexadecimal digits; part of the key, no secret
    scope: Scope
    sha256: str  # of the whole key, hexadecimal
    created: str  # ISO 8601, UTC
    expires: str | None = None
    name: str | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires is None or now < datetime.fromisoformat(self.expires)

    def to_json(self) -> dict[str, str | None]:
        """What people may see of it."""
        return {name: value for name, value in asdict(self).items() if name != "sha256"}


def read_keys(layout: Layout) -> tuple[Key, ...]:
    """Every key, expired ones included. Raises IndexDataError where the file is not what was written."""
    try:
        return tuple(_parse(json.loads(layout.keys.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise IndexDataError(
            "the file of keys can not be read",
            where=layout.keys,
            expected=f"format {_FORMAT}",
            found=error,
            remedy="move it away and make the keys again with `crossmatch key create`",
        ) from error


def _parse(document: dict[str, Any]) -> Iterator[Key]:
    if document["format"] != _FORMAT:
        raise ValueError(f"format {document['format']}")
    for entry in document["keys"]:
        key = Key(**{**entry, "scope": Scope(entry["scope"])})
        if not (isinstance(key.id, str) and len(bytes.fromhex(key.sha256)) == 32):
            raise ValueError(f"key {key.id}")
        key.is_valid(datetime.now(UTC))  # raises where the date is none
        yield key


def create_key(layout: Layout, scope: Scope, name: str | None = None, days: int | None = None) -> tuple[Key, str]:
    """A new key, durable when this returns, and the text of it, which is stored nowhere. Raises IndexDataError."""
    now = datetime.now(UTC).replace(microsecond=0)
    expires = None if days is None else (now + timedelta(days=days)).isoformat()
    with _changing(layout) as keys:
        taken = {key.id for key in keys}
        while (id_ := secrets.token_hex(4)) in taken:
            pass
        text = f"{_PREFIX}_{id_}_{secrets.token_urlsafe(32)}"
        key = Key(id_, scope, sha256(text.encode()).hexdigest(), now.isoformat(), expires, name)
        _write(layout, (*keys, key))
    return key, text


def revoke_key(layout: Layout, id_: str) -> Key:
    """Forget a key: the next request with it is refused. Raises UsageError where there is none of that id."""
    with _changing(layout) as keys:
        found = next((key for key in keys if key.id == id_), None)
        if found is None:
            raise UsageError("no such key", where=id_, remedy="`crossmatch key list` shows the ids there are")
        _write(layout, tuple(key for key in keys if key.id != id_))
    return found


def read_index_keys(layout: Layout) -> tuple[Key, ...]:
    """Every key of a folder that must be an index. Raises IndexDataError."""
    if not layout.is_index():
        raise IndexDataError(
            "not an index",
            where=layout.folder,
            expected=f"a folder with {layout.catalog.name}",
            remedy="make one with `crossmatch index build`",
        )
    return read_keys(layout)


@contextmanager
def _changing(layout: Layout) -> Iterator[tuple[Key, ...]]:
    """The keys there are, with every other change of them kept out."""
    read_index_keys(layout)
    with layout.keys_lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield read_keys(layout)


def _write(layout: Layout, keys: tuple[Key, ...]) -> None:
    document = {"format": _FORMAT, "keys": [asdict(key) for key in keys]}
    write_whole(layout.keys, json.dumps(document, indent=1, ensure_ascii=False).encode())


class KeyRing:
    """The keys of one index as they are now; a change of the file is noticed at the next question."""

    def __init__(self, layout: Layout) -> None:
        """Nothing is read before the first question."""
        self._layout = layout
        self._stamp: tuple[int, ...] | None = None
        self._keys: dict[str, Key] = {}

    def find(self, text: str) -> Key | None:
        """The key that this is the text of, unless it is revoked or has expired. Raises IndexDataError."""
        self._follow()
        key = self._keys.get(text.split("_")[1] if text.count("_") >= 2 else "")
        digest = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        same = hmac.compare_digest(key.sha256 if key else _NOBODY, digest)
        return key if key is not None and same and key.is_valid(datetime.now(UTC)) else None

    def _follow(self) -> None:
        """Read the file again if another one lies there: a `stat` a request, and no more."""
        stamp = _stamp(self._layout.keys)
        if stamp != self._stamp:
            self._keys, self._stamp = (
                {},
                None,
            )  # should it be damaged, nobody is let in, and the next request looks again
            self._keys = {key.id: key for key in read_keys(self._layout)}
            self._stamp = stamp


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:  # should it be there all the same, reading it says why it can not be read
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
