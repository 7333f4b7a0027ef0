"""Starting and ending: one line when it can not start, in order when it is told to stop, and no torch inside."""

from __future__ import annotations

import io
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from PIL import Image

import crossmatch
from index.errors import UsageError
from service.server import address_of, ending_in_order, listen
from tests.drawn_pictures import draw_picture
from tests.service.live_service import LiveService, expect_problem, run_crossmatch, search, serve


def expect_one_line(index: Path, *options: object, code: int, words: str) -> None:
    """`serve` ends by itself with this exit code and one line on standard error."""
    found, out, err = run_crossmatch("serve", "--index", index, *options)
    assert (found, out) == (code, ""), err
    assert re.fullmatch(rf"crossmatch: [^\n]*{words}[^\n]*\n", err), err


def test_no_torch_library_is_mapped_into_the_process(client: httpx.Client, live_service: LiveService) -> None:
    search(client, draw_picture("red"))
    maps = Path(f"/proc/{live_service.process}/maps").read_text()
    assert "onnxruntime" in maps
    assert not re.findall(r"torch|triton|libcuda", maps)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_within_seconds(drawn_index: Path, tmp_path: Path, number: signal.Signals) -> None:
    with serve(drawn_index, tmp_path / "log") as service, httpx.Client(base_url=service.url) as client:
        search(client, draw_picture("red"))  # its connection stays open
        started = time.monotonic()
        service.process.send_signal(number)
        code = service.process.wait(10)
        assert time.monotonic() - started < 5
    assert code == 128 + number
    log = service.log.read_text()
    assert "Traceback" not in log
    assert len(log.splitlines()) <= 3  # the address, the search, and that it was interrupted


def test_an_index_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    expect_one_line(tmp_path / "none", "--port", 0, code=1, words="not an index.*no such folder.*index build")


def test_a_damaged_model_is_one_line(drawn_index: Path, tmp_path: Path) -> None:
    index = Path(shutil.copytree(drawn_index, tmp_path / "own.index"))
    model = next(index.glob("generations/*/model/model.onnx"))
    model.write_bytes(b"x" + model.read_bytes()[1:])
    expect_one_line(index, "--port", 0, code=1, words="model.onnx.*expected.*found")


def test_an_address_that_can_not_be_had_is_one_line(
    drawn_index: Path, live_service: LiveService, capsys: pytest.CaptureFixture[str]
) -> None:
    port = httpx.URL(live_service.url).port
    for options, words in (
        (["--port", str(port)], f"127.0.0.1:{port}: the port is in use.*another port"),
        (
            ["--host", "192.0.2.1"],
            "192.0.2.1:8000: this machine does not have the address",
        ),  # another machine's, by RFC 5737
        (["--host", "::zz"], "no such address.*--host"),
    ):
        assert crossmatch.run(["serve", "--index", str(drawn_index), *options]) == 2
        err = capsys.readouterr().err
        assert re.fullmatch(rf"crossmatch: [^\n]*{words}[^\n]*\n", err), err


def test_options_out_of_range_are_usage_errors(drawn_index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--port", "65536"], ["--waiting", "0"], ["--threads", "0"], ["--max-bytes", "0"]):
        assert crossmatch.run(["serve", "--index", str(drawn_index), *options]) == 2
        assert options[0] in capsys.readouterr().err


def test_the_port_is_taken_before_any_work() -> None:
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert address_of(bound) == f"http://127.0.0.1:{port}"
        with pytest.raises(UsageError, match="in use"):
            listen("127.0.0.1", port)


def test_an_address_of_version_six_has_its_brackets() -> None:
    try:
        bound = listen("::1", 0)
    except UsageError:
        pytest.skip("this machine has no IPv6")
    with bound:
        assert re.fullmatch(r"http://\[::1\]:\d+", address_of(bound))
        assert bound.family == socket.AF_INET6


def test_sigterm_unwinds_what_is_inside_and_the_former_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    closed: list[bool] = []

    def work() -> None:
        with ending_in_order(), ExitStack() as stack:
            stack.callback(closed.append, True)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        work()
    assert ended.value.code == 143
    assert closed == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_library_starts_threads_beside_ours() -> None:
    """As `serve` begins: what numpy and FAISS start by themselves when they are imported and multiply."""
    code = (
        "import os\nfrom service.cli import keep_to_one_thread\nkeep_to_one_thread()\n"
        "import faiss, numpy\nrows = numpy.ones((4000, 512), dtype='float32')\nrows @ rows[0]\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1


def test_a_search_that_waits_beyond_the_deadline_is_told_when_to_ask_again(drawn_index: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((2000, 2000), 100).save(buffer, "PNG")  # takes a while to decode
    with serve(drawn_index, tmp_path / "log", "--threads", 1, "--deadline", 0.1) as service:

        def ask(_number: int) -> httpx.Response:
            return httpx.post(f"{service.url}/v1/search", files={"image": buffer.getvalue()}, timeout=30)

        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(ask, range(12)))
    assert {answer.status_code for answer in answers} == {200, 503}
    late = next(answer for answer in answers if answer.status_code == 503)
    expect_problem(late, 503, "too busy", "within 0.1 s")
    assert late.headers["retry-after"] == "1"
