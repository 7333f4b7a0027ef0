"""What the kills and the power cuts have found, each as the shortest way to it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.additions import IndexEditor
from index.catalog_writer import CatalogWriter
from index.compaction import compact_index
from index.creation import building, create_index
from index.encoder import Encoder
from index.encoding import encode_picture
from index.generations import EncodingPlan, build_generation, roll_back
from index.layout import Layout
from index.searcher import Searcher
from index.sources import SourcePicture
from tests.faults.disk import ROOT, Disk, Named, Synced, Written
from tests.faults.gallery import Gallery

PLAN = EncodingPlan(threads=1)


@pytest.fixture
def layout(tmp_path: Path, gallery: Gallery) -> Layout:
    """An empty index of the first model."""
    layout = Layout(tmp_path / "index")
    create_index(layout, gallery.bundles[0])
    return layout


@pytest.fixture
def catalog(layout: Layout) -> Iterator[CatalogWriter]:
    with CatalogWriter(layout.catalog) as catalog:
        yield catalog


def add(layout: Layout, catalog: CatalogWriter, gallery: Gallery, contents: list[int]) -> list[str]:
    """Items, by their keys."""
    editor = IndexEditor(layout, catalog, threads=1)
    keys = [f"{place}" for place in range(len(contents))]
    for key, content in zip(keys, contents, strict=True):
        editor.add_bytes(SourcePicture(key, None, Path(key)), gallery.files[content])
    return keys


def test_after_a_rollback_a_copy_is_found_whose_first_one_was_removed_and_punched_out(
    layout: Layout, catalog: CatalogWriter, gallery: Gallery
) -> None:
    keys = add(layout, catalog, gallery, [0, *range(1, 50), 0])
    compact_index(layout, catalog)
    with building(layout):
        build_generation(layout, catalog, gallery.bundles[1], "flat", PLAN)
    IndexEditor(layout, catalog).remove(keys[:1])
    for _ in range(3):
        compact_index(layout, catalog)
    with building(layout):
        roll_back(layout, catalog, None, PLAN)
    with Searcher(layout.folder) as searcher:
        found = searcher.search(gallery.vectors[0][0], 1, model=gallery.bundles[0].manifest.model_id)
    assert [match.item.key for match in found.matches] == [keys[-1]]


def test_a_compaction_spares_rows_that_a_search_may_still_read(
    layout: Layout, catalog: CatalogWriter, gallery: Gallery
) -> None:
    keys = add(layout, catalog, gallery, [1, 2, 3, 4])
    compact_index(layout, catalog)
    [rows] = layout.folder.glob("generations/*/vectors.f32")
    before = rows.read_bytes()
    IndexEditor(layout, catalog).remove(keys[1:2])
    compact_index(layout, catalog)
    assert rows.read_bytes() == before
    compact_index(layout, catalog)
    assert rows.read_bytes() != before


def test_a_folder_that_a_killed_writer_made_and_did_not_sync_is_synced_by_the_next(
    layout: Layout, catalog: CatalogWriter, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    original = layout.original(gallery.hashes[0])
    original.parent.mkdir(parents=True)
    monkeypatch.setattr("index.writer.sync_path", synced.append)
    add(layout, catalog, gallery, [0])
    assert {original, original.parent, layout.originals} <= set(synced)


def test_an_original_that_is_durable_is_never_replaced_by_one_that_is_not(
    layout: Layout, catalog: CatalogWriter, gallery: Gallery
) -> None:
    add(layout, catalog, gallery, [0])
    original = layout.original(gallery.hashes[0])
    before = original.stat().st_ino
    encode_picture(layout, Encoder(gallery.bundles[0]), gallery.files[0], None)
    assert original.stat().st_ino == before
    assert [path.name for path in original.parent.iterdir()] == [original.name]


def test_that_folder_would_be_lost_without(tmp_path: Path) -> None:
    disk, shard, file = Disk(), 1, 2
    for event in (
        *(Named(((ROOT, "ab", shard),), folder_made=shard), Named(((shard, "abcd", file),))),
        *(Written(file, 0, b"x"), Synced(file, 3), Synced(shard, 4)),
    ):
        disk.take(event)
    cuts = [tmp_path / str(number) for number in range(20)]
    chance = random.Random(1)
    for cut in cuts:
        disk.cut(cut, chance)
    assert {(cut / "ab" / "abcd").exists() for cut in cuts} == {True, False}
