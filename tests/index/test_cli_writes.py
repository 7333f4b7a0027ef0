"""The commands that write: exact JSON fields, exit codes, and one line for everything that goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.bundle import Bundle
from index.creation import building
from index.layout import Layout
from tests.command_line import Output, build_command, fail, run_json, say
from tests.drawn_pictures import draw_picture, write_drawn_pictures
from tests.indexed_pictures import answers_of, items_of
from tests.tiny_model import write_tiny_bundle


@pytest.fixture
def built(tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path, capsys: Output) -> Path:
    """The 24 pictures, indexed by the command."""
    folder = tmp_path / "index"
    say(capsys, *build_command(own_pictures, tiny_bundle, folder))
    return folder


class TestBuild:
    def test_json(self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path, capsys: Output) -> None:
        (own_pictures / "empty.jpg").touch()
        folder = tmp_path / "index"
        assert run_json(capsys, *build_command(own_pictures, tiny_bundle, folder)) == {
            "index": str(folder),
            "added": 24,
            "replaced": 0,
            "moved": 0,
            "edited": 0,
            "removed": 0,
            "kept": 0,
            "skipped": [
                {
                    "key": "empty.jpg",
                    "reason": "the picture is empty (expected a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF file, "
                    "found 0 bytes)",
                }
            ],
            "adopted": [],
        }

    def test_for_people(self, tmp_path: Path, tiny_bundle: Bundle, own_pictures: Path, capsys: Output) -> None:
        for number in range(23):
            (own_pictures / f"bad-{number:02}.jpg").write_text("no picture")
        folder = tmp_path / "index"
        lines = say(capsys, *build_command(own_pictures, tiny_bundle, folder, "--threads", "1")).splitlines()
        assert lines[0] == f"{folder}: added 24, skipped 23"
        assert lines[1].startswith("  skipped bad-00.jpg: not a picture that can be read")
        assert lines[-1] == "  ... and 3 more; --json lists them all"
        assert len(lines) == 22

    def test_update(self, built: Path, own_pictures: Path, tiny_bundle: Bundle, capsys: Output) -> None:
        (own_pictures / "red" / "red-0.png").unlink()
        (own_pictures / "red" / "red-1.jpg").rename(own_pictures / "top.jpg")
        (own_pictures / "red" / "red-2.png").write_bytes(draw_picture("red", 50))
        (own_pictures / "new.png").write_bytes(draw_picture("red", 51))
        command = build_command(own_pictures, tiny_bundle, built, "--update")
        counts = {"added": 1, "replaced": 1, "moved": 1, "edited": 0, "removed": 1, "kept": 21, "skipped": []}
        assert run_json(capsys, *command) == {"index": str(built), **counts, "adopted": []}
        assert say(capsys, *command) == f"{built}: added 0, kept 24, skipped 0\n"

    def test_another_model(self, built: Path, own_pictures: Path, tmp_path: Path, capsys: Output) -> None:
        other = write_tiny_bundle(tmp_path / "other", seed=1)
        (own_pictures / "red" / "red-0.png").unlink()
        line = fail(capsys, 1, *build_command(own_pictures, other, built))
        assert "missing or changed: red/red-0.png); bring them back, or say --drop-missing" in line
        assert run_json(capsys, *build_command(own_pictures, other, built, "--drop-missing", "--keep", "0")) == {
            "index": str(built),
            "generation": f"0002-{other.manifest.model_id[:8]}",
            "encoded": 0,  # the first attempt encoded them
            "dropped": ["red/red-0.png"],
        }
        assert len(list((built / "generations").iterdir())) == 1

    def test_an_index_that_is_there(self, built: Path, tiny_bundle: Bundle, own_pictures: Path, capsys: Output) -> None:
        line = fail(capsys, 2, *build_command(own_pictures, tiny_bundle, built))
        assert line.startswith(f"crossmatch: {built}: there is an index already (expected a new folder")
        assert "say --update" in line

    def test_an_unmounted_source(
        self, built: Path, tiny_bundle: Bundle, own_pictures: Path, tmp_path: Path, capsys: Output
    ) -> None:
        own_pictures.rename(tmp_path / "away")
        command = build_command(own_pictures, tiny_bundle, built, "--update")
        assert "no such source" in fail(capsys, 2, *command)
        assert run_json(capsys, *command, "--images-root", str(tmp_path / "away"))["kept"] == 24
        own_pictures.mkdir()
        assert "holds no picture" in fail(capsys, 2, *command)
        assert len(items_of(built)) == 24

    def test_while_another_process_builds(
        self, built: Path, tiny_bundle: Bundle, own_pictures: Path, capsys: Output
    ) -> None:
        with building(Layout(built)):
            line = fail(capsys, 1, *build_command(own_pictures, tiny_bundle, built, "--update"))
            assert "another process is building this index" in line
            assert "another process" in fail(capsys, 1, "index", "rollback", "--index", str(built))

    def test_what_is_not_there(self, tmp_path: Path, tiny_bundle: Bundle, drawn_pictures: Path, capsys: Output) -> None:
        nowhere = tmp_path / "nowhere"
        line = fail(capsys, 2, *build_command(nowhere, tiny_bundle, tmp_path / "index"))
        assert f"{nowhere}: no such source" in line
        command = ["index", "build", str(drawn_pictures), "--model", str(nowhere), "--index", str(tmp_path / "index")]
        assert str(nowhere) in fail(capsys, 1, *command)
        assert list(tmp_path.iterdir()) == []

    def test_nothing_but_bad_files(self, tmp_path: Path, tiny_bundle: Bundle, capsys: Output) -> None:
        source = tmp_path / "pictures"
        source.mkdir()
        (source / "a.jpg").write_text("no picture")
        line = fail(capsys, 2, *build_command(source, tiny_bundle, tmp_path / "index", "--json"))
        assert "not one of 1 files could be indexed" in line
        assert not (tmp_path / "index").exists()


class TestAdd:
    def test_json(self, built: Path, tmp_path: Path, capsys: Output) -> None:
        new = write_drawn_pictures(tmp_path / "new", ["red"], per_label=2, first=50)
        (new / "empty.png").touch()
        command = ["index", "add", str(new), "--index", str(built)]
        fields = run_json(capsys, *command)
        assert [skip.pop("reason")[:20] for skip in fields["skipped"]] == ["the picture is empty"]
        assert fields == {
            "index": str(built),
            "added": 2,
            "replaced": 0,
            "kept": 0,
            "skipped": [{"key": "empty.png"}],
        }
        (new / "empty.png").unlink()
        (new / "red" / "red-50.png").write_bytes(draw_picture("red", 60))
        lines = say(capsys, *command).splitlines()
        assert lines[0] == f"{built}: added 0, kept 1, skipped 1"
        assert "say --replace" in lines[1]
        assert say(capsys, *command, "--replace") == f"{built}: added 0, replaced 1, kept 1, skipped 0\n"

    def test_no_index(self, tmp_path: Path, drawn_pictures: Path, capsys: Output) -> None:
        line = fail(capsys, 1, "index", "add", str(drawn_pictures), "--index", str(tmp_path / "none"))
        assert "not an index" in line


class TestUpdate:
    def test_nothing_to_change(self, built: Path, capsys: Output) -> None:
        line = fail(capsys, 2, "index", "update", "red/red-0.png", "--index", str(built))
        assert line == "crossmatch: red/red-0.png: nothing to change (expected --image, --label or --metadata)\n"

    def test_a_bad_picture_is_named(self, built: Path, tmp_path: Path, capsys: Output) -> None:
        (tmp_path / "bad.jpg").write_text("no picture")
        command = ["index", "update", "red/red-0.png", "--image", str(tmp_path / "bad.jpg"), "--index", str(built)]
        assert fail(capsys, 1, *command).startswith(f"crossmatch: {tmp_path / 'bad.jpg'}: not a picture")

    def test_json(self, built: Path, tmp_path: Path, capsys: Output) -> None:
        image = tmp_path / "new.png"
        image.write_bytes(draw_picture("red", 50))
        key = "red/red-0.png"
        item = items_of(built)[key].id
        command = ["index", "update", key, "--index", str(built)]
        fields = {"id": item, "key": key, "label": "Scharlach", "metadata": {"price": 3}, "version": 2}
        assert run_json(capsys, *command, "--label", "Scharlach", "--metadata", '{"price": 3}') == fields
        assert run_json(capsys, *command, "--image", str(image)) == {**fields, "version": 3}
        assert run_json(capsys, *command, "--label", "") == {**fields, "label": None, "version": 4}
        assert say(capsys, *command, "--label", "") == f"{built}: {key} is at version 4\n"  # as it was: no change

    @pytest.mark.parametrize("metadata", ["", "nonsense", "[1]", "3", "null", '{"a": NaN}', '{"a": "\\ud800"}'])
    def test_metadata_that_is_no_json_object(self, built: Path, capsys: Output, metadata: str) -> None:
        command = ["index", "update", "red/red-0.png", "--index", str(built), "--metadata", metadata]
        assert "--metadata" in fail(capsys, 2, *command)
        assert items_of(built)["red/red-0.png"].version == 1

    def test_what_is_not_there(self, built: Path, tmp_path: Path, capsys: Output) -> None:
        line = fail(capsys, 1, "index", "update", "none", "--label", "x", "--index", str(built))
        assert line == f"crossmatch: {built}: no such item (expected the key of an item, found 'none')\n"
        nowhere = str(tmp_path / "nowhere.png")
        assert nowhere in fail(capsys, 1, "index", "update", "red/red-0.png", "--image", nowhere, "--index", str(built))


class TestRemove:
    def test_all_or_none(self, built: Path, capsys: Output) -> None:
        keys = ["red/red-0.png", "red/red-1.jpg"]
        line = fail(capsys, 1, "index", "remove", *keys, "none", "--index", str(built))
        assert "found 'none'" in line
        assert len(items_of(built)) == 24
        assert run_json(capsys, "index", "remove", *keys, keys[0], "--index", str(built)) == {
            "index": str(built),
            "removed": 2,
        }
        assert say(capsys, "index", "remove", "red/red-2.png", "--index", str(built)) == f"{built}: removed 1\n"
        assert len(items_of(built)) == 21


class TestCompact:
    def test_json(self, built: Path, capsys: Output) -> None:
        say(capsys, "index", "remove", "red/red-0.png", "--index", str(built))
        before = answers_of(built)
        fields = run_json(capsys, "index", "compact", "--index", str(built), "--recipe", "hnsw")
        assert fields.pop("freed") >= 0
        assert fields == {"index": str(built), "pictures": 23, "recall": 1.0, "cleared": []}
        assert answers_of(built) == before
        assert "23 pictures sealed, recall 1.0" in say(capsys, "index", "compact", "--index", str(built))

    def test_a_recipe_that_is_none(self, built: Path, capsys: Output) -> None:
        assert "nonsense" in fail(capsys, 2, "index", "compact", "--index", str(built), "--recipe", "nonsense")


class TestRollback:
    def test_json(self, built: Path, own_pictures: Path, tmp_path: Path, capsys: Output) -> None:
        before = answers_of(built)
        first = (built / "CURRENT").read_text().strip()
        other = write_tiny_bundle(tmp_path / "other", seed=1)
        say(capsys, *build_command(own_pictures, other, built))
        (first,) = run_json(capsys, "index", "info", "--index", str(built))["earlier"]
        assert f"earlier               {first}" in say(capsys, "index", "info", "--index", str(built))
        fields = run_json(capsys, "index", "rollback", "--index", str(built))
        assert fields["generation"] == first
        assert fields == {"index": str(built), "generation": first, "encoded": 0, "dropped": []}
        assert answers_of(built) == before
        second = f"0002-{other.manifest.model_id[:8]}"
        line = say(capsys, "index", "rollback", "--to", second, "--index", str(built))
        assert line == f"{built}: generation {second} answers now, 0 pictures encoded\n"

    def test_nothing_to_go_back_to(self, built: Path, capsys: Output) -> None:
        assert "no such generation" in fail(capsys, 2, "index", "rollback", "--index", str(built))
        line = fail(capsys, 2, "index", "rollback", "--to", "nonsense", "--index", str(built))
        assert "found nonsense" in line
