"""Keys: what is stored, who is recognised, and that a change is known at once."""

from __future__ import annotations

import json
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import crossmatch
from index.errors import IndexDataError, UsageError
from index.layout import Layout
from index.verification import verify_index
from service.access.keys import KeyRing, create_key, read_keys, revoke_key
from service.access.scopes import Scope


@pytest.fixture
def layout(drawn_index: Path, tmp_path: Path) -> Layout:
    """An index of this test's own."""
    return Layout(Path(shutil.copytree(drawn_index, tmp_path / "own.index")))


def test_a_key_is_recognised_and_not_stored(layout: Layout) -> None:
    key, text = create_key(layout, Scope.WRITE, name="importer")
    other, _ = create_key(layout, Scope.READ)
    assert len(text.split("_", 2)[2]) == 43  # 256 bits in base64url
    stored = layout.keys.read_text()
    assert text not in stored
    assert text.split("_", 2)[2] not in stored
    ring = KeyRing(layout)
    assert ring.find(text) == key
    assert (key.scope, key.name, key.expires) == (Scope.WRITE, "importer", None)
    assert other.id != key.id


def test_nothing_but_the_whole_key_is_recognised(layout: Layout) -> None:
    key, text = create_key(layout, Scope.READ)
    other, other_text = create_key(layout, Scope.ADMIN)
    ring = KeyRing(layout)
    mixed = f"cmk_{other.id}_{text.split('_', 2)[2]}"
    for wrong in ("", "_", "__", text[:-1], f"{text}x", text.upper(), mixed, key.sha256, key.id, "cmk_0_ü\udcff"):
        assert ring.find(wrong) is None, wrong
    assert ring.find(other_text) == other


def test_a_ring_follows_the_file_at_the_next_question(layout: Layout) -> None:
    ring = KeyRing(layout)
    assert ring.find("cmk_00000000_x") is None
    for _ in range(20):  # each within moments of the last
        key, text = create_key(layout, Scope.READ)
        assert ring.find(text) == key
        revoke_key(layout, key.id)
        assert ring.find(text) is None
    layout.keys.unlink()
    assert ring.find(text) is None


def test_an_expired_key_is_none(layout: Layout) -> None:
    key, text = create_key(layout, Scope.READ, days=1)
    assert key.expires is not None
    assert KeyRing(layout).find(text) == key
    assert not key.is_valid(datetime.now(UTC) + timedelta(days=1, seconds=1))
    document = json.loads(layout.keys.read_text())
    document["keys"][0]["expires"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    layout.keys.write_text(json.dumps(document))
    assert KeyRing(layout).find(text) is None


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"format": 2, "keys": []}', b'{"format": 1, "keys": [{"id": 1}]}', b"\xff"]
)
def test_a_damaged_file_lets_nobody_in(layout: Layout, damage: bytes) -> None:
    _, text = create_key(layout, Scope.READ)
    ring = KeyRing(layout)
    assert ring.find(text)
    whole = layout.keys.read_bytes()
    layout.keys.write_bytes(damage)
    for _ in range(2):
        with pytest.raises(IndexDataError, match=r"keys\.json.*crossmatch key create"):
            ring.find(text)
    layout.keys.write_bytes(whole)
    assert ring.find(text)


def test_keys_made_at_once_are_all_kept(layout: Layout) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(create_key(layout, Scope.READ)[0].id)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.id for key in read_keys(layout)) == sorted(made)
    assert len(set(made)) == 12


def test_the_folder_with_keys_is_still_whole(layout: Layout, tmp_path: Path) -> None:
    create_key(layout, Scope.READ)
    assert [finding for finding in verify_index(layout) if finding.remains] == []
    assert not [finding for finding in verify_index(layout) if "keys" in str(finding)]
    assert crossmatch.run(["index", "backup", str(tmp_path / "backup"), "--index", str(layout.folder)]) == 0
    assert not list((tmp_path / "backup").rglob("keys*"))


def test_a_key_that_is_not_there_can_not_be_revoked(layout: Layout) -> None:
    with pytest.raises(UsageError, match=r"no such key.*key list"):
        revoke_key(layout, "00000000")


# The commands


def run(capsys: pytest.CaptureFixture[str], *arguments: str, index: Layout) -> tuple[int, str, str]:
    code = crossmatch.run(["key", *arguments, "--index", str(index.folder)])
    return (code, *capsys.readouterr())


def test_the_commands_make_list_and_revoke(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, note = run(capsys, "create", "--scope", "read", "--name", "shop", index=layout)
    assert code == 0
    key = KeyRing(layout).find(text.strip())
    assert key is not None
    assert key.id in note
    assert text.strip() not in note
    code, out, _ = run(capsys, "create", "--scope", "admin", "--days", "3", "--json", index=layout)
    made = json.loads(out)
    assert set(made) == {"id", "scope", "created", "expires", "name", "key"}
    code, listed, _ = run(capsys, "list", index=layout)
    assert code == 0
    assert [line.split()[:2] for line in listed.splitlines()] == [[key.id, "read"], [made["id"], "admin"]]
    assert text.strip() not in listed
    code, out, _ = run(capsys, "list", "--json", index=layout)
    assert [set(one) for one in json.loads(out)["keys"]] == 2 * [{"id", "scope", "created", "expires", "name"}]
    assert run(capsys, "revoke", key.id, index=layout)[0] == 0
    assert KeyRing(layout).find(text.strip()) is None
    assert KeyRing(layout).find(made["key"]) is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create"], "--scope"),
        (["create", "--scope", "root"], "root"),
        (["create", "--scope", "read", "--days", "0"], "--days"),
        (["revoke", "nothing"], "no such key"),
    ],
)
def test_a_wrong_call_is_one_line(
    layout: Layout, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, *arguments, index=layout)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_folder_that_is_no_index_takes_no_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["create", "--scope", "read"], ["list"], ["revoke", "x"]):
        code, _, err = run(capsys, *arguments, index=Layout(tmp_path))
        assert code == 1
        assert "not an index" in err
    assert list(tmp_path.iterdir()) == []
