"""A new index folder appears whole or not at all, and one process builds at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from index import builder, creation
from index.bundle import Bundle, read_bundle
from index.catalog import Catalog
from index.catalog_writer import CatalogWriter
from index.creation import building, create_index, is_building, make_generation_folder, name_generation
from index.errors import BundleError, IndexBusyError, IndexDataError, SourceError, UsageError
from index.layout import Layout
from index.manifest import MANIFEST_NAME, file_digest
from index.searcher import Searcher
from index.sources import SourcePicture
from tests.drawn_pictures import draw_picture
from tests.indexed_pictures import build, editing, items_of


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Where an index may go."""
    return Layout(tmp_path / "index")


def test_an_empty_index_answers(layout: Layout, tiny_bundle: Bundle) -> None:
    create_index(layout, tiny_bundle, "hnsw")
    name = name_generation(1, tiny_bundle.manifest.model_id)
    assert layout.current.read_text() == f"{name}\n"
    assert read_bundle(layout.model(name)).manifest == tiny_bundle.manifest
    with Searcher(layout.folder) as searcher:
        assert (searcher.info().size, searcher.generation.recipe, searcher.generation.name) == (0, "hnsw", name)
    assert [path.name for path in layout.folder.parent.iterdir()] == ["index"]


def test_the_manifest_names_the_model_and_its_bundle(layout: Layout, tiny_bundle: Bundle) -> None:
    create_index(layout, tiny_bundle)
    (path,) = layout.folder.glob("generations/*/manifest.json")
    assert json.loads(path.read_bytes()) == {
        "format_version": 1,
        "model": tiny_bundle.manifest.model_id,
        "metric": tiny_bundle.manifest.metric,
        "embedding_size": 16,
        "bundle": file_digest(tiny_bundle.folder / MANIFEST_NAME),
    }


def test_all_names_are_synced_before_the_index_appears(
    layout: Layout, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    there: list[set[Path]] = []
    move = creation.move_into_place

    def note(draft: Path, folder: Path) -> None:
        there.append({path.relative_to(draft) for path in synced if path.is_relative_to(draft)})
        assert {path.relative_to(draft) for path in draft.rglob("*")} <= there[0]
        move(draft, folder)

    monkeypatch.setattr(creation, "sync_path", synced.add)
    monkeypatch.setattr(creation, "move_into_place", note)
    create_index(layout, tiny_bundle)
    assert Path() in there[0]
    assert layout.folder.parent in synced


def test_a_damaged_bundle_makes_no_index(layout: Layout, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> Bundle:
        raise BundleError("damaged", where=folder)

    monkeypatch.setattr(creation, "read_bundle", refuse)
    with pytest.raises(BundleError):
        create_index(layout, tiny_bundle)
    assert list(layout.folder.parent.iterdir()) == []


def test_something_in_the_way(layout: Layout, tiny_bundle: Bundle) -> None:
    layout.folder.mkdir()
    create_index(layout, tiny_bundle)  # an empty folder is none
    with pytest.raises(UsageError, match="something else is where the index should go"):
        create_index(layout, tiny_bundle)


def test_a_network_file_system(layout: Layout, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.layout.find_file_system", lambda *_: "nfs4")
    with pytest.raises(IndexDataError, match="must be on a local disk"):
        create_index(layout, tiny_bundle)
    assert list(layout.folder.parent.iterdir()) == []


def test_what_an_interrupted_attempt_left_is_replaced(layout: Layout, tiny_bundle: Bundle) -> None:
    (layout.generation("0002-x") / "model" / "half").mkdir(parents=True)
    make_generation_folder(layout, "0002-x", tiny_bundle)
    assert read_bundle(layout.model("0002-x")).manifest == tiny_bundle.manifest
    assert not (layout.model("0002-x") / "half").exists()
    assert layout.vectors("0002-x").stat().st_size == 0


class TestBuilding:
    def test_one_at_a_time(self, layout: Layout, tiny_bundle: Bundle) -> None:
        create_index(layout, tiny_bundle)
        assert not is_building(layout)
        with building(layout):
            assert is_building(layout)
            with pytest.raises(IndexBusyError, match="another process is building this index"), building(layout):
                pass
        assert not is_building(layout)

    def test_who_only_asks_does_not_stop_it(self, layout: Layout, tiny_bundle: Bundle) -> None:
        create_index(layout, tiny_bundle)
        with building(layout):
            assert [is_building(layout) for _ in range(3)] == [True] * 3
        with building(layout), Catalog(layout.catalog) as catalog:
            assert catalog.count_items() == 0

    def test_no_index_is_not_being_built(self, tmp_path: Path) -> None:
        assert not is_building(Layout(tmp_path))


def test_what_another_process_added_to_an_empty_build_stays(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder, take_away = tmp_path / "pictures", tmp_path / "index", builder._take_away
    source.mkdir()
    (source / "a.jpg").write_text("no picture")

    def add_first(layout: Layout, catalog: CatalogWriter) -> None:
        with editing(folder) as editor:
            editor.add_bytes(SourcePicture("added", None, Path("none")), draw_picture("red"))
        take_away(layout, catalog)

    monkeypatch.setattr(builder, "_take_away", add_first)
    with pytest.raises(SourceError, match="could be indexed"):
        build(source, tiny_bundle, folder)
    assert list(items_of(folder)) == ["added"]
