"""The index's commands: exact JSON fields, exit codes, and one line for everything that goes wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

import crossmatch
from index.bundle import Bundle
from index.crops import Crop
from index.encoder import Encoder
from index.queries import Page, Query, Strategy
from index.searcher import Searcher, search_picture
from tests.command_line import Output, build_command, fail, run_json
from tests.tiny_model import tiny_calibration, write_tiny_bundle


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, drawn_pictures: Path) -> Path:
    """The 24 pictures, indexed by the command. Read only."""
    folder = tmp_path_factory.mktemp("built") / "index"
    assert crossmatch.run(build_command(drawn_pictures, tiny_bundle, folder)) == 0
    return folder


class TestInfo:
    def test_json(self, built: Path, tiny_bundle: Bundle, drawn_pictures: Path, capsys: Output) -> None:
        fields = run_json(capsys, "index", "info", "--index", str(built))
        assert {name: fields[name] for name in ("generation", "model", "size", "recall")} == {
            "generation": f"0001-{tiny_bundle.manifest.model_id[:8]}",
            "model": tiny_bundle.manifest.model_id,
            "size": 24,
            "recall": 1.0,
        }
        assert (fields["embedding_size"], fields["recipe"]) == (16, "flat")
        assert (fields["in_snapshot"], fields["distinct_in_snapshot"]) == (24, 24)
        assert (fields["unsealed"], fields["removed_unsealed"]) == (0, 0)
        assert fields["sources"] == [{"name": str(drawn_pictures), "listed": 24, "complete": True}]

    def test_for_people(self, built: Path, drawn_pictures: Path, capsys: Output) -> None:
        assert crossmatch.run(["index", "info", "--index", str(built)]) == 0
        facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert facts["size"] == "24"
        assert facts["sources"] == f"{drawn_pictures} (complete)"

    def test_no_index(self, tmp_path: Path, capsys: Output) -> None:
        line = fail(capsys, 1, "index", "info", "--index", str(tmp_path))
        assert line == (
            f"crossmatch: {tmp_path}: not an index (expected a folder with catalog.sqlite, found no such file); "
            "make one with `crossmatch index build`, or mount the disk that holds it\n"
        )

    @pytest.mark.parametrize("content", [b"", b"words " * 1000])
    def test_no_catalogue(self, tmp_path: Path, capsys: Output, content: bytes) -> None:
        (tmp_path / "catalog.sqlite").write_bytes(content)
        assert str(tmp_path / "catalog.sqlite") in fail(capsys, 1, "index", "info", "--index", str(tmp_path))

    def test_a_newer_format(self, built: Path, tmp_path: Path, capsys: Output) -> None:
        shutil.copytree(built, tmp_path / "index")
        with sqlite3.connect(tmp_path / "index" / "catalog.sqlite") as db:
            db.execute("PRAGMA user_version = 999")
        db.close()
        line = fail(capsys, 1, "index", "info", "--index", str(tmp_path / "index"))
        assert "found format 999" in line


def test_verify_says_whether_there_was_a_fault(built: Path, tmp_path: Path, capsys: Output) -> None:
    assert crossmatch.run(["index", "verify", "--index", str(built)]) == 0
    assert capsys.readouterr().out == f"{built}: no fault found\n"
    shutil.copytree(built, tmp_path / "index")
    (tmp_path / "index" / "reserve").write_bytes(b"x")
    assert crossmatch.run(["index", "verify", "--index", str(tmp_path / "index")]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'index'}: 1 fault remains"


class TestSearch:
    @pytest.mark.parametrize("k", [1, 5, 1000])
    def test_json_is_what_the_function_gives(self, built: Path, drawn_pictures: Path, capsys: Output, k: int) -> None:
        image = drawn_pictures / "red" / "red-1.jpg"
        answer = run_json(capsys, "search", str(image), "--index", str(built), "-k", str(k))
        with Searcher(built) as searcher:
            result = search_picture(searcher, Encoder(searcher.read_bundle()), image.read_bytes(), k)
        assert list(answer) == ["results", "index", "next_cursor", "took_ms"]
        assert (answer["next_cursor"] is None) == (k == 1000)
        assert answer["took_ms"] > 0
        assert answer["index"] == {"generation": result.index.generation, "model": result.index.model, "size": 24}
        assert len(answer["results"]) == min(k, 24)
        for found, match in zip(answer["results"], result.matches, strict=True):
            assert found == {
                "id": match.item.id,
                "key": match.item.key,
                "label": match.item.label,
                "score": match.score,  # to the last digit
                "probability": None,
                "metadata": {},
                "image_url": f"/v1/items/{match.item.id}/image",
            }
        assert answer["results"][0]["key"] == "red/red-1.jpg"

    def test_options_decide_what_is_asked(self, built: Path, drawn_pictures: Path, capsys: Output) -> None:
        red, blue = (str(drawn_pictures / name) for name in ("red/red-1.jpg", "blue/blue-1.jpg"))
        near = ["search", red, "--key", "blue/blue-2.png", "--negative", blue, "--negative-key", "green/green-1.jpg"]
        where = ["--index", str(built), "-k", "5"]
        with Searcher(built) as searcher:
            encoder = Encoder(searcher.read_bundle())
            ids = [one.id for key in ("blue/blue-2.png", "green/green-1.jpg") if (one := searcher.find_item(key))]
            for strategy in Strategy:
                query = Query(
                    (encoder.encode_file(Path(red)),),
                    (encoder.encode_file(Path(blue)),),
                    (ids[0],),
                    (ids[1],),
                    strategy,
                    encoder.bundle.manifest.model_id,
                )
                expected = searcher.ask(query, Page(5))
                answer = run_json(capsys, *near, "--strategy", strategy.value, *where)
                assert answer["results"] == expected.to_json(0.0)["results"]
                cursor = ["--cursor", answer["next_cursor"]]
                more = run_json(capsys, *near, "--strategy", strategy.value, *where, *cursor)
                everything = searcher.ask(query, Page(10)).to_json(0.0)["results"]
                assert answer["results"] + more["results"] == everything
            part = run_json(capsys, "search", red, "--crop", "0,0,20,30", *where)["results"]
            cut = encoder.encode_file(Path(red), Crop(0, 0, 20, 30))
            model = encoder.bundle.manifest.model_id
            assert part == searcher.search(cut, 5, model=model).to_json(0.0)["results"]

    def test_probabilities_need_a_calibration(self, built: Path, drawn_pictures: Path, capsys: Output) -> None:
        image = str(drawn_pictures / "red" / "red-1.jpg")
        line = fail(capsys, 2, "search", image, "--index", str(built), "--min-probability", "0.5")
        assert "there are no probabilities where the model's bundle has no calibration" in line

    def test_for_people(self, built: Path, drawn_pictures: Path, capsys: Output) -> None:
        assert (
            crossmatch.run(["search", str(drawn_pictures / "red" / "red-0.png"), "--index", str(built), "-k", "4"]) == 0
        )
        out, err = capsys.readouterr()
        lines = [line.split() for line in out.splitlines()]
        assert [line[0] for line in lines] == ["1", "2", "3", "4"]
        assert lines[0][1:] == ["1.0000", "red", "red/red-0.png"]
        assert {line[2] for line in lines} == {"red"}
        assert err.startswith("4 of 24 items in ")

    def test_people_see_probabilities_where_there_are_any(
        self, tmp_path: Path, own_pictures: Path, capsys: Output
    ) -> None:
        bundle, index = write_tiny_bundle(tmp_path / "bundle", calibration=tiny_calibration()), tmp_path / "index"
        assert crossmatch.run(build_command(own_pictures, bundle, index)) == 0
        capsys.readouterr()
        assert crossmatch.run(["search", "--key", "red/red-0.png", "--index", str(index), "-k", "1"]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line.split()[2:5] == ["p", "0.9800", "red"]

    @pytest.mark.parametrize("score", ["2", "-1.5"])
    def test_a_score_that_is_no_cosine(self, built: Path, capsys: Output, score: str) -> None:
        line = fail(capsys, 2, "search", "--key", "x", "--index", str(built), "--min-score", score)
        assert "'--min-score'" in line

    def test_bad_pictures(self, built: Path, tmp_path: Path, capsys: Output) -> None:
        words = tmp_path / "words.jpg"
        words.write_text("no picture")
        nowhere = tmp_path / "nowhere.jpg"
        line = fail(capsys, 1, "search", str(nowhere), "--index", str(built), "--json")
        assert f"{nowhere}: can not be read: No such file" in line
        line = fail(capsys, 1, "search", str(words), "--index", str(built), "--json")
        assert "not a picture that can be read" in line

    @pytest.mark.parametrize("k", ["0", "1001", "-1", "many"])
    def test_bad_k(self, built: Path, drawn_pictures: Path, capsys: Output, k: str) -> None:
        image = drawn_pictures / "red" / "red-1.jpg"
        assert crossmatch.run(["search", str(image), "--index", str(built), "-k", k]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "'-k'" in err
        assert "Traceback" not in err

    def test_vectors_that_are_too_short(
        self, built: Path, tmp_path: Path, drawn_pictures: Path, capsys: Output
    ) -> None:
        shutil.copytree(built, tmp_path / "index")
        (path,) = (tmp_path / "index").glob("generations/*/vectors.f32")
        os.truncate(path, 128)
        image = drawn_pictures / "red" / "red-1.jpg"
        line = fail(capsys, 1, "search", str(image), "--index", str(tmp_path / "index"))
        assert f"{path}: the file is shorter than the catalogue says" in line


def test_evaluate_json(tiny_bundle: Bundle, drawn_pictures: Path, capsys: Output) -> None:
    command = ["evaluate", "--model", str(tiny_bundle.folder), "--data", "folder", "--root", str(drawn_pictures)]
    fields = run_json(capsys, *command)
    assert (fields["data"], fields["queries"], fields["gallery"]) == ("folder", 24, 24)
    assert (fields["recall"]["1"], fields["map_at_r"], fields["r_precision"]) == (1.0, 1.0, 1.0)


def test_evaluate_refuses_what_it_does_not_know(tiny_bundle: Bundle, tmp_path: Path, capsys: Output) -> None:
    command = ["evaluate", "--model", str(tiny_bundle.folder), "--data", "cats", "--root", str(tmp_path)]
    assert "cats" in fail(capsys, 2, *command)


class TestVerifyModel:
    def test_json(self, tiny_bundle: Bundle, capsys: Output) -> None:
        fields = run_json(capsys, "model", "verify", str(tiny_bundle.folder))
        assert 0.9999 <= fields["golden_cosine"] <= 1.0001
        assert tiny_bundle.manifest.model_id in fields.values()

    def test_for_people(self, tiny_bundle: Bundle, capsys: Output) -> None:
        assert crossmatch.run(["model", "verify", str(tiny_bundle.folder)]) == 0
        assert "whole, and runs as it did" in capsys.readouterr().out

    def test_a_changed_file(self, tiny_bundle: Bundle, tmp_path: Path, capsys: Output) -> None:
        shutil.copytree(tiny_bundle.folder, tmp_path / "bundle")
        with (tmp_path / "bundle" / "model.onnx").open("ab") as file:
            file.write(b"x")
        assert "model.onnx" in fail(capsys, 1, "model", "verify", str(tmp_path / "bundle"))
