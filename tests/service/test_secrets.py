"""No answer tells of the machine: every route is asked while its index is whole, broken and gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.drawn_pictures import draw_picture
from tests.service.live_service import serve


def break_nothing(_index: Path) -> None:
    """As it is."""


def lose_the_catalogue(index: Path) -> None:
    (index / "catalog.sqlite").rename(index / "moved")


def damage_the_catalogue(index: Path) -> None:
    whole = (index / "catalog.sqlite").read_bytes()
    (index / "catalog.sqlite").write_bytes(whole[:100] + bytes(len(whole) - 100))


def lose_everything(index: Path) -> None:
    index.rename(index.with_name("moved.index"))


def put_a_file_there(index: Path) -> None:
    lose_everything(index)
    index.write_text("no folder")


BREAKS = [break_nothing, lose_the_catalogue, damage_the_catalogue, lose_everything, put_a_file_there]


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda each: each.__name__)
def test_no_answer_names_a_path_or_shows_a_stack_trace(drawn_index: Path, tmp_path: Path, break_it: object) -> None:
    index = Path(shutil.copytree(drawn_index, tmp_path / "secret-place.index"))
    paths = create_app(Settings(Path("nowhere"))).openapi()["paths"]
    with serve(index, tmp_path / "log") as started, httpx.Client(base_url=started.url, timeout=30) as client:
        break_it(index)  # type: ignore[operator]
        for path, methods in paths.items():
            for method in methods:
                for name in ("1", "0", "x", "999999999"):
                    files = {"image": draw_picture("red")} if method == "post" else None
                    data = {"key": f"new-{name}"} if files else None
                    url = path.replace("{id}", name)
                    check(client.request(method, url, files=files, data=data), index, tmp_path)
        for path in ("/nothing", "/static/../../../etc/passwd", f"/{index}", "/docs", "/openapi.json", "/"):
            check(client.get(path), index, tmp_path)
    assert "secret-place" in (tmp_path / "log").read_text()  # which the log does name


def check(response: httpx.Response, index: Path, folder: Path) -> None:
    """That an answer is none of these, and an error a problem document."""
    for secret in (str(folder), index.name, "Traceback", "site-packages", "/tmp/", ".py"):
        assert secret not in response.text, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.status_code != 500
