"""Downloads from a real HTTP server on this machine that drops connections, lies and changes its mind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from index.download import Origin, Patience, download
from index.errors import CrossmatchError

CONTENT = bytes(range(256)) * 4000  # about a megabyte
QUICK = Patience(attempts=3, wait=0.01)


@dataclass
class Server:
    """What it offers, how it misbehaves, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    etag: str = '"one"'
    drop_after: int | None = None  # bytes of an answer, after which the connection is closed
    ranges: bool = True
    status: int | None = None  # instead of an answer
    seconds: float = 0.0  # between pieces
    asked: list[str | None] = field(default_factory=list)  # Range headers


def make_handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            if server.status:
                return self.send_error(server.status)
            start = 0
            if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if start >= len(server.content) > 0 and start:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            body = server.content[start:]
            self.send_response(206 if start else 200)
            if start:
                end = len(server.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(server.content)}")
            self.send_header("ETag", server.etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for place in range(0, len(body), 2**16):
                if server.drop_after is not None and place >= server.drop_after:
                    self.close_connection = True
                    return self.connection.shutdown(socket.SHUT_RDWR)
                self.wfile.write(body[place : place + 2**16])
                time.sleep(server.seconds)
            return None

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), make_handler(state)) as running:
        running.handle_error = lambda *_: None  # type: ignore[method-assign]
        state.url = f"http://127.0.0.1:{running.server_port}/file.tgz"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield state
        running.shutdown()
        thread.join()


def origin(server: Server, content: bytes = CONTENT) -> Origin:
    return Origin("file.tgz", (server.url,), md5=hashlib.md5(content).hexdigest(), bytes=len(content))


def ignore(_done: int, _total: int) -> None:
    pass


def test_a_connection_that_drops_again_and_again(server: Server, tmp_path: Path) -> None:
    server.drop_after = 2**18
    steps: list[tuple[int, int]] = []
    path = download(origin(server), tmp_path, lambda done, total: steps.append((done, total)), QUICK)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=262144-", "bytes=524288-", "bytes=786432-"]
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [one.name for one in tmp_path.iterdir()] == ["file.tgz"]
    assert download(origin(server), tmp_path, ignore, QUICK) == path
    assert len(server.asked) == 4  # what is there is not fetched again


def test_another_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.drop_after = 2**18
    with pytest.raises(CrossmatchError, match=r"file\.tgz: can not be downloaded .*goes on after 262144 bytes"):
        download(origin(server), tmp_path, ignore, Patience(attempts=0))  # a drop is the end
    assert not (tmp_path / "file.tgz").exists()
    server.drop_after = None
    assert download(origin(server), tmp_path, ignore, QUICK).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=262144-"]


def test_killed_and_given_again(server: Server, tmp_path: Path) -> None:
    """A real process, killed while it downloads; the next one goes on from what it wrote."""
    server.seconds = 0.05
    code = f"""
from pathlib import Path
from index.download import Origin, download
download(Origin("file.tgz", ({server.url!r},)), Path({str(tmp_path)!r}), lambda done, total: None)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    part = tmp_path / "file.tgz.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 2**17) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    held = part.stat().st_size
    assert 0 < held < len(CONTENT)
    server.seconds = 0.0
    assert download(origin(server), tmp_path, ignore, QUICK).read_bytes() == CONTENT
    assert server.asked[1] == f"bytes={held}-"


def test_another_file_in_between_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.tgz.part").write_bytes(b"of the old file")
    state = {"address": server.url, "validator": '"zero"'}
    (tmp_path / "file.tgz.part.json").write_text(json.dumps(state))
    assert download(origin(server), tmp_path, ignore, QUICK).read_bytes() == CONTENT
    assert server.asked == ["bytes=15-"]


def test_a_server_without_ranges_and_one_without_proof(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.tgz.part").write_bytes(CONTENT[:1000])
    (tmp_path / "file.tgz.part.json").write_text(json.dumps({"address": server.url, "validator": server.etag}))
    assert download(origin(server), tmp_path, ignore, QUICK).read_bytes() == CONTENT
    other = tmp_path / "other"
    other.mkdir()
    (other / "file.tgz.part").write_bytes(b"nobody knows of what")
    assert download(origin(server), other, ignore, QUICK).read_bytes() == CONTENT
    assert server.asked[1] is None


def test_whole_but_not_renamed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.tgz.part").write_bytes(CONTENT)
    (tmp_path / "file.tgz.part.json").write_text(json.dumps({"address": server.url, "validator": server.etag}))
    assert download(origin(server), tmp_path, ignore, QUICK).read_bytes() == CONTENT


def test_another_content_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(CrossmatchError, match=r"file\.tgz: not the file that it should be \(expected MD5"):
        download(origin(server), tmp_path, ignore, QUICK)
    assert list(tmp_path.iterdir()) == []
    server.content = CONTENT + b"more"
    with pytest.raises(CrossmatchError, match=r"another file is offered there .*expected 1024000 bytes"):
        download(origin(server), tmp_path, ignore, QUICK)


def test_no_room(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CrossmatchError, match=r"no room for the download \(expected 1024000 bytes, found 1000 bytes"):
        download(origin(server), tmp_path, ignore, QUICK)
    assert len(server.asked) == 1


def test_the_next_address(server: Server, tmp_path: Path) -> None:
    gone = Origin("file.tgz", ("http://127.0.0.1:9/file.tgz", server.url))
    assert download(gone, tmp_path, ignore, QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (503, 3), (429, 3)])
def test_a_refusal_is_one_line(server: Server, tmp_path: Path, status: int, attempts: int) -> None:
    server.status = status
    with pytest.raises(CrossmatchError, match=r"file\.tgz: can not be downloaded .*--archive") as caught:
        download(origin(server), tmp_path, ignore, QUICK)
    assert "\n" not in str(caught.value)
    assert len(server.asked) == attempts
