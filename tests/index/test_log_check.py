"""A changed byte in the catalogue's log: found wherever it is, told apart from a power cut's end, and put right."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from index.bundle import Bundle
from index.catalog import Catalog
from index.layout import Layout
from index.log_check import WrongByte, find_wrong_byte
from index.repair import repair_index
from index.verification import verify_index
from tests.vector_gallery import add_rows, draw_rows, make_index

PAGE = 4096
FRAME = 24 + PAGE


def open_database(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    return db


def fill(db: sqlite3.Connection, rows: int) -> None:
    """A transaction a row."""
    db.execute("CREATE TABLE IF NOT EXISTS t (x)")
    for number in range(rows):
        db.execute("INSERT INTO t VALUES (?)", (random.Random(number).randbytes(700),))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of twenty transactions."""
    path = tmp_path_factory.mktemp("log") / "db.sqlite"
    with closing(open_database(path)) as db:
        fill(db, 20)
        return path.with_name("db.sqlite-wal").read_bytes()


def flip(log: bytes, place: int, change: int) -> bytes:
    flipped = bytearray(log)
    flipped[place] ^= change
    return bytes(flipped)


def test_a_whole_log(log: bytes) -> None:
    assert len(log) > 20 * FRAME
    assert find_wrong_byte(log, PAGE) is None


@pytest.mark.parametrize("place", range(32))
def test_a_changed_byte_of_the_header(log: bytes, place: int) -> None:
    found = find_wrong_byte(flip(log, place, 0x20), PAGE)
    assert found is not None
    assert found in (WrongByte(place, log[place]), WrongByte(0, None))


@pytest.mark.parametrize("frame", [0, 19])
@pytest.mark.parametrize("place", [*range(24), 24, 25, 26, 1000, 1001, 1002, FRAME - 2, FRAME - 3])
def test_a_changed_byte_of_a_frame(log: bytes, frame: int, place: int) -> None:
    start = 32 + frame * FRAME
    found = find_wrong_byte(flip(log, start + place, 1 << place % 8), PAGE)
    assert found is not None
    assert found in (WrongByte(start + place, log[start + place]), WrongByte(start, None))


def test_any_changed_byte_is_found_and_none_is_put_right_wrongly(log: bytes) -> None:
    chance, sure = random.Random(3), 0
    for _ in range(40):
        place, change = chance.randrange(len(log)), chance.randrange(1, 256)
        found = find_wrong_byte(flip(log, place, change), PAGE)
        assert found is not None, (place, change)
        if found.right is not None:
            assert found == WrongByte(place, log[place])
            sure += 1
    assert sure > 20


def test_what_a_power_cut_leaves_is_an_end(log: bytes) -> None:
    """Torn pages, a frame that never came, sectors of zeros."""
    chance = random.Random(4)
    for _ in range(30):
        torn = bytearray(log[: len(log) - chance.randrange(FRAME)])
        start = 32 + FRAME * chance.randrange(15, 20) + 512 * chance.randrange(8)
        torn[start : start + 512] = chance.choice([bytes(512), chance.randbytes(512)])
        assert find_wrong_byte(bytes(torn), PAGE) is None


def test_frames_of_before_the_log_began_anew_are_an_end(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    with closing(open_database(path)) as db:
        fill(db, 20)
        db.execute("PRAGMA wal_checkpoint(RESTART)")
        fill(db, 3)
        log = path.with_name("db.sqlite-wal").read_bytes()
    assert len(log) > 20 * FRAME  # most of it is old
    assert find_wrong_byte(log, PAGE) is None


def test_frames_beyond_a_torn_one_that_was_written_over_are_an_end(tmp_path: Path) -> None:
    """A power cut tears a transaction of many frames; the next one overwrites its first: the salts are all current."""
    path, copy = tmp_path / "db.sqlite", tmp_path / "copy.sqlite"
    with closing(open_database(path)) as db:
        fill(db, 3)
        before = path.with_name("db.sqlite-wal").stat().st_size
        with db:
            db.execute("BEGIN")
            for number in range(40):
                db.execute("INSERT INTO t VALUES (?)", (random.Random(number).randbytes(700),))
            db.execute("COMMIT")
        torn = bytearray(path.with_name("db.sqlite-wal").read_bytes())
        torn[before + 24 : before + 24 + 512] = bytes(512)
        shutil.copy(path, copy)
    log = copy.with_name("copy.sqlite-wal")
    log.write_bytes(torn)
    with closing(sqlite3.connect(copy, isolation_level=None)) as db:
        fill(db, 1)
        assert len(log.read_bytes()) == len(torn)
        assert find_wrong_byte(log.read_bytes(), PAGE) is None


@pytest.fixture
def killed(tmp_path: Path, tiny_bundle: Bundle) -> Layout:
    """An index as a kill left it: all that came after its first snapshot is in the log."""
    layout = make_index(tmp_path / "first", tiny_bundle)
    with Catalog(layout.catalog):  # so that no writer is the last to close
        for number in range(5):
            add_rows(layout, draw_rows(4, seed=number), f"{number}")
        shutil.copytree(layout.folder, tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    return Layout(tmp_path / "killed")


def change_log(layout: Layout) -> Path:
    path = layout.catalog.with_name("catalog.sqlite-wal")
    data = path.read_bytes()
    path.write_bytes(flip(data, 32 + 10 * FRAME + 501, 4))
    return path


def count_items(layout: Layout) -> int:
    with Catalog(layout.catalog) as catalog:
        return catalog.count_items()


def test_it_would_hide_acknowledged_writes(killed: Layout) -> None:
    change_log(killed)
    assert count_items(killed) < 20


def test_verify_names_it_and_repair_puts_it_right(killed: Layout) -> None:
    path = change_log(killed)
    for _ in range(2):  # verify leaves it as it is
        [finding] = verify_index(killed)
        assert (finding.kind, finding.where, finding.healed) == ("fault", str(path), False)
    found = repair_index(killed)
    assert [one.where for one in found if one.healed and one.where == str(path)] == [str(path)]
    assert not [one for one in found if one.remains]
    assert count_items(killed) == 20
    assert not [one for one in verify_index(killed) if one.kind == "fault"]
