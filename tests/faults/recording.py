"""Every write, sync and rename of a real worker, SQLite's and FAISS's too, by strace -> events of the disk model.

strace sees the kernel's door, so no library can write past it; a writable shared map could, and is refused.
What may change here: more system calls that are understood. One that is not, on a file below the root, raises.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.disk import ROOT, Acknowledged, Event, Named, Sized, Synced, Written, Zeroed

_CALLS = (
    "open,openat,openat2,creat,close,dup,dup2,dup3,fcntl,lseek,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,"
    "sync,syncfs,sync_file_range,ftruncate,truncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "unlink,unlinkat,mkdir,mkdirat,rmdir,sendfile,copy_file_range,splice,mmap,msync,io_uring_setup"
)
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\w+)", re.DOTALL)
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass
class _Opened:
    """What a descriptor stands for; copies of it share one."""

    node: int | None  # None: outside the root
    path: str
    offset: int = 0
    append: bool = False


@dataclass
class Recording:
    """The events, and what they were by kind of file: (kind, call) -> count, and bytes."""

    events: list[Event] = field(default_factory=list)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)  # bytes written


def record(command: list[str], trace: Path, root: Path, acknowledgements: Path) -> Recording:
    """Run a Python command under strace; its events below `root`. Raises CalledProcessError if it fails."""
    options = ["strace", "-f", "--seccomp-bpf", "-xx", "-s", str(1 << 26), "-o", str(trace), "-e", f"trace={_CALLS}"]
    subprocess.run([*options, sys.executable, *command], check=True, cwd=Path(__file__).parents[2])
    reader = _TraceReader(os.path.realpath(root), os.path.realpath(acknowledgements))
    with trace.open(encoding="ascii") as lines:
        reader.read(lines)
    return reader.recording


class _TraceReader:
    """Follows descriptors and names, so that an event names a file by itself, whatever it is called by then."""

    def __init__(self, root: str, acknowledgements: str) -> None:
        self._root, self._acknowledgements = root, acknowledgements
        self.recording = Recording()
        self._descriptors: dict[int, _Opened] = {}
        self._folders: dict[int, dict[str, int]] = {ROOT: {}}
        self._sizes: dict[int, int] = {}
        self._kinds: dict[int, str] = {}
        self._nodes = ROOT
        self._unfinished: dict[str, tuple[str, int]] = {}  # thread -> what it began, events by then

    def read(self, lines: Iterable[str]) -> None:
        """All lines, in the order in which the calls ended."""
        for line in lines:
            text, began = line.rstrip("\n"), len(self.recording.events)
            if text.endswith("<unfinished ...>"):
                self._begin(text.removesuffix("<unfinished ...>").rstrip(), began)
                continue
            resumed = _RESUMED.match(text)
            if resumed:
                start, began = self._unfinished.pop(resumed[1])
                text = start + resumed[2]
            found = _LINE.match(text)
            if found and not found[4].startswith("-"):
                self._call(found[2], found[3], found[4], began)

    def _begin(self, text: str, began: int) -> None:
        thread = text.split(" ", 1)[0]
        self._unfinished[thread] = (text, began)
        closed = re.match(r"^\d+ +close\((\d+)$", text.rstrip(")"))
        if closed:  # the kernel may give the number to another thread before this call is seen to end
            self._descriptors.pop(int(closed[1]), None)
            self._unfinished[thread] = (f"{thread} close(-1", began)

    def _call(self, name: str, text: str, result: str, began: int) -> None:
        arguments = text.split(", ")
        handler: Callable[[list[str], int, int], None] | None = getattr(self, f"_do_{name}", None)
        value = int(result, 16) if result.startswith("0x") else int(result) if result.isdigit() else 0
        if handler is not None:
            handler(arguments, value, began)
        elif self._touches(arguments):
            raise NotImplementedError(f"{name}({text[:200]})")

    def _touches(self, arguments: list[str]) -> bool:
        opened = self._descriptors.get(int(arguments[0])) if arguments[0].isdigit() else None
        named = any(self._root.encode().hex() in one.replace("\\x", "") for one in arguments)
        return named or (opened is not None and opened.node is not None)

    # Descriptors

    def _do_open(self, arguments: list[str], result: int, began: int) -> None:
        self._do_openat(["AT_FDCWD", *arguments], result, began)

    def _do_openat(self, arguments: list[str], result: int, _: int) -> None:
        flags = arguments[2].split("|")
        path = _decode(arguments[1]).decode()
        if path == self._acknowledgements:
            self._descriptors[result] = _Opened(None, path)
            return
        place = self._find(arguments[0], path)
        if place is None:
            self._descriptors[result] = _Opened(None, path)
            return
        parent, name, node = place
        if node is None:
            node = self._make_node(name)
            self._name((parent, name, node))
        elif "O_TRUNC" in flags and self._sizes.get(node):
            self._resize(node, 0)
        self._descriptors[result] = _Opened(node, path, append="O_APPEND" in flags)

    def _do_close(self, arguments: list[str], _: int, __: int) -> None:
        self._descriptors.pop(int(arguments[0]), None)

    def _do_dup(self, arguments: list[str], result: int, _: int) -> None:
        opened = self._descriptors.get(int(arguments[0]))
        if opened is None:
            self._descriptors.pop(result, None)
        else:
            self._descriptors[result] = opened

    _do_dup2 = _do_dup
    _do_dup3 = _do_dup

    def _do_fcntl(self, arguments: list[str], result: int, began: int) -> None:
        if arguments[1].startswith("F_DUPFD"):
            self._do_dup(arguments, result, began)

    def _do_lseek(self, arguments: list[str], result: int, _: int) -> None:
        if opened := self._descriptors.get(int(arguments[0])):
            opened.offset = result

    # Content

    def _do_write(self, arguments: list[str], result: int, _: int) -> None:
        opened = self._descriptors.get(int(arguments[0]))
        if opened is None:
            return
        data = b"".join(_decode(one) for one in _find_texts(", ".join(arguments[1:])))[:result]
        if opened.path == self._acknowledgements:
            number, model = data.split()
            self.recording.events.append(Acknowledged(int(number), int(model)))
        elif opened.node is not None:
            if opened.append:
                opened.offset = self._sizes.get(opened.node, 0)
            self._write(opened.node, opened.offset, data)
            opened.offset += result

    _do_writev = _do_write

    def _do_pwrite64(self, arguments: list[str], result: int, _: int) -> None:
        opened = self._descriptors.get(int(arguments[0]))
        if opened is not None and opened.node is not None:
            self._write(opened.node, int(arguments[3]), _decode(arguments[1])[:result])

    def _do_sendfile(self, arguments: list[str], result: int, _: int) -> None:
        """What `shutil` copies with: from a file outside that stays as it is."""
        opened, origin = self._descriptors.get(int(arguments[0])), self._descriptors.get(int(arguments[1]))
        if opened is None or opened.node is None or not result:
            return
        if origin is None or origin.node is not None:
            raise NotImplementedError("sendfile within the root")
        given = re.search(r"\d+", arguments[2])
        start = int(given[0]) if given else opened.offset
        data = Path(origin.path).read_bytes()[start : start + result]
        self._write(opened.node, opened.offset, data)
        opened.offset += result

    def _do_ftruncate(self, arguments: list[str], _: int, __: int) -> None:
        opened = self._descriptors.get(int(arguments[0]))
        if opened is not None and opened.node is not None:
            self._resize(opened.node, int(arguments[1]))

    def _do_fallocate(self, arguments: list[str], _: int, __: int) -> None:
        opened = self._descriptors.get(int(arguments[0]))
        if opened is None or opened.node is None:
            return
        if "FALLOC_FL_PUNCH_HOLE" in arguments[1]:
            self._note(opened.node, "punch")
            self.recording.events.append(Zeroed(opened.node, int(arguments[2]), int(arguments[3])))
        elif arguments[1] == "0":
            self._resize(opened.node, max(self._sizes.get(opened.node, 0), int(arguments[2]) + int(arguments[3])))
        else:
            raise NotImplementedError(f"fallocate {arguments[1]}")

    def _do_mmap(self, arguments: list[str], _: int, __: int) -> None:
        if "MAP_SHARED" not in arguments[3] or "PROT_WRITE" not in arguments[2]:
            return
        opened = self._descriptors.get(int(arguments[4])) if arguments[4].isdigit() else None
        if opened is not None and opened.node is not None and not opened.path.endswith("-shm"):
            raise NotImplementedError(f"a writable map of {opened.path}")

    def _write(self, node: int, offset: int, data: bytes) -> None:
        self._sizes[node] = max(self._sizes.get(node, 0), offset + len(data))
        self._note(node, "write")
        self.recording.sizes[self._kinds[node]] += len(data)
        self.recording.events.append(Written(node, offset, data))

    def _resize(self, node: int, size: int) -> None:
        self._sizes[node] = size
        self._note(node, "resize")
        self.recording.events.append(Sized(node, size))

    def _do_fsync(self, arguments: list[str], _: int, began: int) -> None:
        opened = self._descriptors.get(int(arguments[0]))
        if opened is not None and opened.node is not None:
            self._note(opened.node, "sync")
            self.recording.events.append(Synced(opened.node, began))

    _do_fdatasync = _do_fsync

    # Names

    def _do_mkdir(self, arguments: list[str], result: int, began: int) -> None:
        self._do_mkdirat(["AT_FDCWD", *arguments], result, began)

    def _do_mkdirat(self, arguments: list[str], _: int, __: int) -> None:
        place = self._find(arguments[0], _decode(arguments[1]).decode())
        if place is not None and place[2] is None:  # else another thread was already seen to use it
            self._make_folder(place[0], place[1])

    def _make_folder(self, parent: int, name: str) -> int:
        node = self._make_node(None)
        self._folders[node] = {}
        self._name((parent, name, node), folder_made=node)
        return node

    def _do_unlink(self, arguments: list[str], result: int, began: int) -> None:
        self._do_unlinkat(["AT_FDCWD", *arguments], result, began)

    _do_rmdir = _do_unlink

    def _do_unlinkat(self, arguments: list[str], _: int, __: int) -> None:
        if place := self._find(arguments[0], _decode(arguments[1]).decode()):
            self._name((place[0], place[1], None))

    def _do_rename(self, arguments: list[str], result: int, began: int) -> None:
        self._do_renameat(["AT_FDCWD", arguments[0], "AT_FDCWD", arguments[1]], result, began)

    def _do_link(self, arguments: list[str], result: int, began: int) -> None:
        self._do_linkat(["AT_FDCWD", arguments[0], "AT_FDCWD", arguments[1]], result, began)

    def _do_linkat(self, arguments: list[str], _: int, __: int) -> None:
        old = self._find(arguments[0], _decode(arguments[1]).decode())
        new = self._find(arguments[2], _decode(arguments[3]).decode())
        if old is not None and new is not None and old[2] is not None:
            self._kinds[old[2]] = _kind_of(new[1])
            self._name((new[0], new[1], old[2]))
        elif old is not None or new is not None:
            raise NotImplementedError("a link across the root")

    def _do_renameat(self, arguments: list[str], _: int, __: int) -> None:
        old = self._find(arguments[0], _decode(arguments[1]).decode())
        new = self._find(arguments[2], _decode(arguments[3]).decode())
        if old is not None and new is not None and old[2] is not None:
            if old[2] in self._kinds:
                self._kinds[old[2]] = _kind_of(new[1])
            self._name((old[0], old[1], None), (new[0], new[1], old[2]))
        elif old is not None or new is not None:
            raise NotImplementedError("a rename across the root")

    def _find(self, folder: str, path: str) -> tuple[int, str, int | None] | None:
        """Folder's node, name, and the node of that name; None for a place outside the root."""
        if path.startswith("/"):
            if path != self._root and not path.startswith(self._root + "/"):
                return None
            node, parts = ROOT, path[len(self._root) :].strip("/").split("/")
        else:
            opened = self._descriptors.get(int(folder)) if folder.isdigit() else None
            if opened is None or opened.node is None:
                return None
            node, parts = opened.node, path.split("/")
        if parts == [""]:
            return ROOT, "", ROOT
        for part in parts[:-1]:
            inner = self._folders[node].get(part)
            node = self._make_begun(node, part) if inner is None else inner
        return node, parts[-1], self._folders[node].get(parts[-1])

    def _make_begun(self, parent: int, name: str) -> int:
        """A folder that a thread uses before the call of another that made it is seen to end."""
        begun = [text for text, _ in self._unfinished.values() if " mkdir" in text]
        if not any(name.encode() in _decode(found[0]) for text in begun if (found := _TEXT.search(text))):
            raise KeyError(f"no call made the folder {name}")
        return self._make_folder(parent, name)

    def _make_node(self, name: str | None) -> int:
        self._nodes += 1
        if name is not None:
            self._kinds[self._nodes] = _kind_of(name)
        return self._nodes

    def _name(self, *changes: tuple[int, str, int | None], folder_made: int | None = None) -> None:
        for folder, name, node in changes:
            if node is None:
                self._folders[folder].pop(name, None)
            else:
                self._folders[folder][name] = node
        self.recording.calls[
            "(names)", "rename" if len(changes) > 1 else "remove" if changes[0][2] is None else "make"
        ] += 1
        self.recording.events.append(Named(changes, folder_made))

    def _note(self, node: int, call: str) -> None:
        self.recording.calls[self._kinds.get(node, "(folders)"), call] += 1


def _find_texts(text: str) -> list[str]:
    return [found[0] for found in re.finditer(r'"[^"]*"(\.\.\.)?', text)]


def _decode(text: str) -> bytes:
    found = _TEXT.fullmatch(text)
    if found is None or found[2]:
        raise ValueError(f"not a whole string: {text[:100]}")
    return bytes.fromhex(found[1].replace("\\x", ""))


def _kind_of(name: str) -> str:
    """What a file is, by the name it ends up with."""
    kinds = (
        (r"\.sqlite-wal$", "SQLite's log"),
        (r"\.sqlite-shm$", "SQLite's shared memory"),
        (r"\.sqlite", "SQLite's database"),
        (r"\.faiss", "FAISS's snapshot"),
        (r"\.entries", "snapshot's entries"),
        (r"vectors\.f32$", "rows"),
        (r"[0-9a-f]{64}\.jpg", "thumbnails"),
        (r"[0-9a-f]{64}", "originals"),
    )
    return next((kind for pattern, kind in kinds if re.search(pattern, name)), "others")
