"""A disk that forgets what was not synced: events in, and at any moment the folder that a power cut could leave.

Content is durable after the file's own fsync or fdatasync; a name (created, renamed, removed) after its folder's. Of
the rest any part may have reached the disk: single names, and of a file each page or sector as it was at some moment
since the last sync, under any size it had since. What may change here: nothing that makes the disk kinder.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

ROOT = 0  # the node of the traced folder
_UNITS = (4096, 512)  # bytes that are written whole


@dataclass(frozen=True)
class Written:
    """Bytes into a file."""

    node: int
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Sized:
    """A file cut or extended."""

    node: int
    size: int


@dataclass(frozen=True)
class Zeroed:
    """A hole punched; the size stays."""

    node: int
    offset: int
    length: int


@dataclass(frozen=True)
class Named:
    """Names in folders set or (None) removed, all at once."""

    changes: tuple[tuple[int, str, int | None], ...]  # folder, name, node
    folder_made: int | None = None  # node


@dataclass(frozen=True)
class Synced:
    """A file or folder synced."""

    node: int
    covers: int  # events that had ended when the sync began


@dataclass(frozen=True)
class Acknowledged:
    """The worker's call returned."""

    number: int
    model: int


Content = Written | Sized | Zeroed
Event = Content | Named | Synced | Acknowledged


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, Content]] = field(default_factory=list)  # with their numbers

    def sync(self, covers: int) -> None:
        left = [(number, event) for number, event in self.pending if number >= covers]
        for number, event in self.pending:
            if number < covers:
                _apply(self.durable, event)
        self.pending = left


class Disk:
    """Takes events one after the other."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._folders: dict[int, dict[str, int]] = {ROOT: {}}  # names that are durable
        self._pending: list[tuple[int, Named]] = []
        self._count = 0

    def take(self, event: Event) -> None:
        """The next event."""
        match event:
            case Written() | Sized() | Zeroed():
                self._files.setdefault(event.node, _File()).pending.append((self._count, event))
            case Named():
                if event.folder_made is not None:
                    self._folders[event.folder_made] = {}
                self._pending.append((self._count, event))
            case Synced():
                self._sync(event)
            case Acknowledged():
                pass
        self._count += 1

    def _sync(self, event: Synced) -> None:
        if event.node not in self._folders:
            self._files.setdefault(event.node, _File()).sync(event.covers)
            return
        left = []
        for number, named in self._pending:
            # Of a rename between folders, the folder it went to decides: it comes last.
            if number < event.covers and named.changes[-1][0] == event.node:
                _rename(self._folders, named)
            else:
                left.append((number, named))
        self._pending = left

    def cut(self, folder: Path, chance: random.Random) -> None:
        """Write what a power cut now could leave to a new `folder`; SQLite's -shm is memory and gone."""
        share = chance.choice([0.0, 0.5, 0.9, 1.0])  # of the names that were not synced
        kept = [named for _, named in self._pending if chance.random() < share]
        kind, unit = chance.choice(["lost", "kept", "torn", "torn", "mixed"]), chance.choice(_UNITS)
        names = {node: dict(entries) for node, entries in self._folders.items()}
        for named in kept:
            _rename(names, named)

        def read(node: int) -> bytes:
            file = self._files.get(node, _File())
            fate = chance.choice(["lost", "kept", "torn"]) if kind == "mixed" else kind
            return _tear(file, fate, unit, chance)

        _write_tree(folder, ROOT, names, read)

    def flush(self, folder: Path) -> None:
        """Write everything, as if all had been synced."""
        names = {node: dict(entries) for node, entries in self._folders.items()}
        for _, named in self._pending:
            _rename(names, named)
        chance = random.Random(0)
        _write_tree(folder, ROOT, names, lambda node: _tear(self._files.get(node, _File()), "kept", 4096, chance))


def _rename(folders: dict[int, dict[str, int]], named: Named) -> None:
    for folder, name, node in named.changes:
        if node is None:
            folders[folder].pop(name, None)
        else:
            folders[folder][name] = node


def _write_tree(folder: Path, node: int, names: dict[int, dict[str, int]], read: object) -> None:
    assert callable(read)
    folder.mkdir(parents=True)
    for name, child in sorted(names[node].items()):
        if child in names:
            _write_tree(folder / name, child, names, read)
        elif not name.endswith("-shm"):
            (folder / name).write_bytes(read(child))


def _apply(content: bytearray, event: Content) -> None:
    match event:
        case Written():
            content.extend(bytes(max(0, event.offset - len(content))))
            content[event.offset : event.offset + len(event.data)] = event.data
        case Sized():
            content.extend(bytes(max(0, event.size - len(content))))
            del content[event.size :]
        case Zeroed():
            end = min(event.offset + event.length, len(content))
            content[event.offset : end] = bytes(max(0, end - event.offset))


def _tear(file: _File, fate: str, unit: int, chance: random.Random) -> bytes:
    """The file with none, all or, unit by unit, any first part of what was not synced."""
    events = [event for _, event in file.pending]
    content = bytearray(file.durable)
    if fate != "torn":
        for event in events if fate == "kept" else []:
            _apply(content, event)
        return bytes(content)
    sizes = [len(content)]
    for event in events:
        sizes.append(_size_after(sizes[-1], event))
    content.extend(bytes(max(sizes) - len(content)))
    arrived: dict[int, int] = {}  # unit -> how many of the events had been when it was written
    for number, event in enumerate(events):
        start, data = _span(event, len(content))
        for one in range(start // unit, -(-(start + len(data)) // unit)):
            if number < arrived.setdefault(one, chance.randrange(len(events) + 1)):
                left, right = max(start, one * unit), min(start + len(data), (one + 1) * unit)
                content[left:right] = data[left - start : right - start]
    return bytes(content[: chance.choice(sizes)])


def _size_after(size: int, event: Content) -> int:
    match event:
        case Written():
            return max(size, event.offset + len(event.data))
        case Sized():
            return event.size
        case Zeroed():
            return size


def _span(event: Content, limit: int) -> tuple[int, bytes]:
    """Where an event changes bytes of a file of at most `limit`, and to what."""
    match event:
        case Written():
            return event.offset, event.data
        case Sized():
            return event.size, bytes(max(0, limit - event.size))
        case Zeroed():
            return event.offset, bytes(max(0, min(event.length, limit - event.offset)))
