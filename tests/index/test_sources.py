"""Listing folders, manifests and single pictures, and pictures that lie elsewhere now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from index.errors import SourceError
from index.sources import SourcePicture, list_folder, read_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for pictures; nothing is opened here, so the files may be empty."""
    path = tmp_path / "pictures"
    path.mkdir()
    return path


def put(folder: Path, *names: str) -> None:
    """Empty files at these relative paths."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def keys(location: Path) -> list[str]:
    """The keys that the source lists."""
    return [picture.key for picture in read_source(location).pictures]


def write_csv(folder: Path, text: str | bytes) -> Path:
    """A manifest of that content."""
    path = folder / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_folder_gives_keys_and_labels(folder: Path) -> None:
    put(folder, "b/2.png", "a.jpg", "b/1.JPG", "b/c/3.webp")
    source = read_source(folder)
    assert source.name == str(folder)
    assert source.root == folder
    assert source.pictures == (
        SourcePicture("a.jpg", None, folder / "a.jpg"),
        SourcePicture("b/1.JPG", "b", folder / "b/1.JPG"),
        SourcePicture("b/2.png", "b", folder / "b/2.png"),
        SourcePicture("b/c/3.webp", "b/c", folder / "b/c/3.webp"),
    )


def test_order_does_not_hang_on_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, *(f"{label}/{number}.png" for label in "dbca" for number in (3, 1, 2)))
    expected = keys(folder)
    assert expected == sorted(expected)
    scan = os.scandir

    class Backwards:
        """What `os.scandir` gives, last entry first."""

        def __init__(self, path: str) -> None:
            with scan(path) as entries:
                self._entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

        def __enter__(self) -> Backwards:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def __iter__(self) -> Backwards:
            return self

        def __next__(self) -> os.DirEntry[str]:
            return next(self._entries)

        def close(self) -> None:
            """There is nothing left to close."""

    monkeypatch.setattr(os, "scandir", Backwards)
    assert keys(folder) == expected


def test_hidden_and_other_files_are_left_out(folder: Path) -> None:
    put(folder, "a.png", ".b.png", ".git/c.png", "d.txt", "e", "f.png.part", "g/.h.jpg", "Thumbs.db")
    assert keys(folder) == ["a.png"]


def test_hidden_folder_may_be_the_source_itself(tmp_path: Path) -> None:
    put(tmp_path / ".cache", "a.png")
    assert keys(tmp_path / ".cache") == ["a.png"]


def test_links_to_files_count_and_links_to_folders_do_not(folder: Path, tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/b.png")
    put(folder, "a.png")
    (folder / "b.png").symlink_to(tmp_path / "elsewhere/b.png")
    (folder / "circle").symlink_to(folder)
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    assert keys(folder) == ["a.png", "b.png"]


def test_unicode_and_odd_names(folder: Path) -> None:
    names = ["Äpfel/gelbe Birne.png", "a'b\"c.png", "café.jpg", "\U0001f34e/\U0001f34f.png", "100%.png", "a\nb.png"]
    put(folder, *names)
    assert sorted(keys(folder)) == sorted(names)


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"caf\xe9/a.jpg"])
def test_name_that_is_not_utf8_is_named_in_a_line_that_can_be_printed(folder: Path, name: bytes) -> None:
    put(folder, os.fsdecode(name))
    with pytest.raises(SourceError, match="not UTF-8") as caught:
        read_source(folder)
    assert "caf\\udce9" in str(caught.value)
    assert str(caught.value).encode()


def test_name_that_is_not_utf8_matters_only_for_pictures(folder: Path) -> None:
    put(folder, "a.png", os.fsdecode(b"caf\xe9.txt"))
    assert keys(folder) == ["a.png"]


def test_source_whose_own_path_is_not_utf8(folder: Path) -> None:
    put(folder, os.fsdecode(b"caf\xe9/a.png"))
    with pytest.raises(SourceError, match="not UTF-8"):
        read_source(folder / os.fsdecode(b"caf\xe9"))


def test_name_of_a_source_is_the_same_however_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "a.png", "sub/b.png")
    monkeypatch.chdir(folder.parent)
    ways = [folder, Path("pictures"), Path("./pictures/"), folder / "sub" / "..", Path("pictures/../pictures")]
    assert {read_source(way).name for way in ways} == {str(folder)}


def test_linked_source_keeps_the_name_of_its_link(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.png")
    (tmp_path / "current").symlink_to(folder)
    assert read_source(tmp_path / "current").name == str(tmp_path / "current")


def test_folder_that_can_not_be_read_is_not_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "a.png", "locked/b.png")
    scan = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match="locked: can not be read: Permission denied"):
        read_source(folder)


def test_empty_folder(folder: Path) -> None:
    put(folder, "notes.txt")
    with pytest.raises(SourceError, match=r"holds no picture \(expected files ending in \.avif, .*\.webp\)"):
        read_source(folder)


def test_one_picture_is_a_source_of_one(folder: Path) -> None:
    put(folder, "red/a.JPG", "red/b.png")
    source = read_source(folder / "red/a.JPG")
    assert source.pictures == (SourcePicture("a.JPG", None, folder / "red/a.JPG"),)
    assert (source.name, source.root) == (str(folder / "red/a.JPG"), folder / "red")


@pytest.mark.parametrize("name", ["nothing", "x" * 300])
def test_missing_source(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=f"{name}: "):
        read_source(tmp_path / name)


def test_csv_gives_labels_keys_and_metadata(folder: Path) -> None:
    path = write_csv(folder, "label,path,colour,key\nshoe,a.jpg,red,42\n,sub/b.jpg,,\n")
    source = read_source(path)
    assert (source.name, source.root) == (str(path), folder)
    assert source.pictures == (
        SourcePicture("42", "shoe", folder / "a.jpg", {"colour": "red"}),
        SourcePicture("sub/b.jpg", None, folder / "sub/b.jpg", {"colour": ""}),
    )


def test_csv_with_a_path_column_only(folder: Path) -> None:
    assert read_source(write_csv(folder, "path\na.jpg\n\nb.jpg")).pictures == (
        SourcePicture("a.jpg", None, folder / "a.jpg"),
        SourcePicture("b.jpg", None, folder / "b.jpg"),
    )


@pytest.mark.parametrize(
    ("path", "key"), [("./a.jpg", "a.jpg"), ("x//a.jpg", "x/a.jpg"), ("x/./a.jpg", "x/a.jpg"), ("/x/a.jpg", "/x/a.jpg")]
)
def test_csv_key_is_the_tidied_path(folder: Path, path: str, key: str) -> None:
    assert keys(write_csv(folder, f"path\n{path}\n")) == [key]


@pytest.mark.parametrize("rows", ["a.jpg,\na.jpg,", "a.jpg,\n./a.jpg,", "a.jpg,1\nb.jpg,1", "a.jpg,b.jpg\nb.jpg,"])
def test_csv_key_twice(folder: Path, rows: str) -> None:
    with pytest.raises(SourceError, match=r"list\.csv: the key '.*' is there twice .*a\.jpg and .*\.jpg"):
        read_source(write_csv(folder, f"path,key\n{rows}\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the header has no column `path` .*an empty file"),
        (b"file,label\na.jpg,x\n", "no column `path` .*found file,label"),
        (b"Path\na.jpg\n", "no column `path`"),
        (b"path,label,label\na.jpg,x,y\n", "names a column twice"),
        (b"path,label\na.jpg,x\nb.jpg\n", r"list\.csv:3: a row has not as many fields"),
        (b"path,label\na.jpg,x,y\n", r"list\.csv:2: a row has not as many fields"),
        (b"path,label\n,x\n", r"list\.csv:2: the column `path` is empty"),
        (b'path\n"a.jpg\n', "can not be read as CSV"),
        (b'path\n"a"b.jpg\n', "can not be read as CSV"),
        (b"path\ncaf\xe9.jpg\n", "can not be read as CSV .*expected UTF-8"),
        (b"\xff\xfep\x00a\x00t\x00h\x00", "can not be read as CSV"),
        (b"path,label\n", "holds no picture"),
        (b"path,note\na.jpg," + b"x" * 200_000 + b"\n", "can not be read as CSV"),
    ],
)
def test_csv_that_does_not_fit(folder: Path, text: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read_source(write_csv(folder, text))
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 600


def test_csv_that_can_not_be_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(folder, "path\na.jpg\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceError, match=r"list\.csv: can not be read: Permission denied"):
        read_source(path)


def test_listing_opens_no_picture(folder: Path) -> None:
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    assert [picture.path.name for picture in list_folder(folder)] == ["gone.jpg"]


def test_moved_folder_is_the_same_source(folder: Path, tmp_path: Path) -> None:
    put(folder, "b/1.png", "a.jpg")
    before = read_source(folder)
    folder.rename(tmp_path / "moved")
    after = read_source(folder, tmp_path / "moved")
    assert (after.name, after.root) == (before.name, tmp_path / "moved")
    assert [(one.key, one.label) for one in after.pictures] == [(one.key, one.label) for one in before.pictures]
    assert after.pictures[1].path == tmp_path / "moved" / "b/1.png"


def test_images_root_goes_before_a_folder_that_is_there(folder: Path, tmp_path: Path) -> None:
    put(folder, "old.png")
    put(tmp_path / "new", "new.png")
    assert [one.key for one in read_source(folder, tmp_path / "new").pictures] == ["new.png"]


def test_images_root_is_where_relative_paths_of_a_manifest_start(folder: Path, tmp_path: Path) -> None:
    path = write_csv(folder, "path\na.jpg\n/far/b.jpg\n")
    source = read_source(path, tmp_path / "elsewhere")
    assert (source.name, source.root) == (str(path), tmp_path / "elsewhere")
    assert [one.path for one in source.pictures] == [tmp_path / "elsewhere" / "a.jpg", Path("/far/b.jpg")]
    assert [one.key for one in source.pictures] == keys(path)


def test_images_root_is_kept_whole_however_it_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "new", "a.png")
    monkeypatch.chdir(tmp_path)
    assert {read_source(folder, way).root for way in (Path("new"), Path("pictures/../new"))} == {tmp_path / "new"}


def test_empty_images_root_is_named(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.png")
    (tmp_path / "unmounted").mkdir()
    with pytest.raises(SourceError, match=r"pictures: holds no picture .*found none in .*unmounted"):
        read_source(folder, tmp_path / "unmounted")


def test_missing_images_root_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere: can not be read: No such file"):
        read_source(folder, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["gone.csv", "gone.jsonl", "gone.parquet"])
def test_manifest_has_to_be_there_even_if_the_pictures_moved(folder: Path, name: str) -> None:
    put(folder, "a.png")
    with pytest.raises(SourceError, match=f"{name}: no such source"):
        read_source(folder / name, folder)
