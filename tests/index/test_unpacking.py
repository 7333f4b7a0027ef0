"""Archives as people pack them, and as an enemy would: nothing leaves the folder, and nothing broken passes."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from index.errors import SourceError
from index.unpacking import Limits, unpack


def ignore(_done: int, _total: int) -> None:
    pass


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, 0o6777
    return info


def write_tar(path: Path, members: list[tarfile.TarInfo], content: bytes = b"hello", mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info in members:
            if info.type == tarfile.REGTYPE:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                tar.addfile(info)
    return path


def write_zip(path: Path, entries: dict[str, bytes], attributes: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_plain_files_and_folders(tmp_path: Path, mode: str) -> None:
    names = ["top/a.txt", "./top/deep/er/b.txt", "__MACOSX/top/._a.txt", "top/.DS_Store"]
    members = [member("top", tarfile.DIRTYPE), *map(member, names), member("empty", tarfile.DIRTYPE)]
    unpack(write_tar(tmp_path / "x.tar", members, mode=mode), tmp_path / "out", ignore)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*"))
    assert found == ["empty", "top", "top/a.txt", "top/deep", "top/deep/er", "top/deep/er/b.txt"]
    assert (tmp_path / "out/top/a.txt").read_bytes() == b"hello"
    assert not (tmp_path / "out/top/a.txt").stat().st_mode & 0o6111  # neither run nor owned by what the archive says


def test_a_zip(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    archive = write_zip(tmp_path / "x.zip", {"a/b.jpg": b"1" * 5000, "a/c.jpg": b"2", "d/": b""})
    unpack(archive, tmp_path / "out", lambda done, total: steps.append((done, total)))
    assert (tmp_path / "out/a/b.jpg").read_bytes() == b"1" * 5000
    assert (tmp_path / "out/d").is_dir()
    assert steps == [(1, 3), (2, 3)]


NAMES = ["../evil", "/etc/evil", "a/../../evil", "a\\..\\..\\evil"]


@pytest.mark.parametrize("name", NAMES)
def test_no_path_leads_out(tmp_path: Path, name: str) -> None:
    for archive in (write_tar(tmp_path / "x.tgz", [member(name)]), write_zip(tmp_path / "x.zip", {name: b"x"})):
        with pytest.raises(SourceError, match="a path that leads out of its folder"):
            unpack(archive, tmp_path / "deep" / "out", ignore)
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    "info",
    [
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "a"),
        member("null", tarfile.CHRTYPE),
        member("disk", tarfile.BLKTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: info.name,
)
def test_no_links_and_no_devices(tmp_path: Path, info: tarfile.TarInfo) -> None:
    with pytest.raises(SourceError, match=rf"holds a link, a device or the like .*{info.name}"):
        unpack(write_tar(tmp_path / "x.tgz", [member("a"), info]), tmp_path / "out", ignore)
    assert not (tmp_path / "out" / info.name).is_symlink()
    assert not (tmp_path / "out" / info.name).exists()


def test_no_links_in_a_zip(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "x.zip", {"link": b"/etc/passwd"}, attributes=0o120777 << 16)
    with pytest.raises(SourceError, match="holds a link"):
        unpack(archive, tmp_path / "out", ignore)


def test_no_more_than_the_limits(tmp_path: Path) -> None:
    bomb = write_zip(tmp_path / "x.zip", {"zeros": bytes(2_000_000)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(SourceError, match=r"too large .*at most 1000000 bytes"):
        unpack(bomb, tmp_path / "out", ignore, Limits(size=1_000_000))
    many = write_tar(tmp_path / "x.tgz", [member(str(number)) for number in range(20)])
    with pytest.raises(SourceError, match=r"too many files .*at most 10"):
        unpack(many, tmp_path / "many", ignore, Limits(files=10))


def test_a_name_twice(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="a name is there twice"):
        unpack(write_tar(tmp_path / "x.tgz", [member("a"), member("a")]), tmp_path / "out", ignore)
    with pytest.raises(SourceError, match="a name is a file and a folder"):
        unpack(write_tar(tmp_path / "y.tgz", [member("a"), member("a/b")]), tmp_path / "out2", ignore)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["tgz", "tar", "zip"])
def test_what_was_cut_off(tmp_path: Path, kind: str, share: float) -> None:
    content = {f"{number}.bin": bytes([number]) * 3000 + bytes(range(256)) for number in range(30)}
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        write_zip(path, content)
    else:
        with tarfile.open(path, "w:gz" if kind == "tgz" else "w") as tar:
            for name, data in content.items():
                tar.addfile(member(name, size=len(data)), io.BytesIO(data))
    data = path.read_bytes()
    length = data.rstrip(b"\0") if kind == "tar" else data
    path.write_bytes(data[: int(len(length) * share)])
    with pytest.raises(SourceError, match=r"x\.(tgz|tar|zip): (can not be unpacked|broken or cut off)") as caught:
        unpack(path, tmp_path / "out", ignore)
    assert "\n" not in str(caught.value)


def test_cut_off_between_two_files(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [member("a"), member("b")], mode="w")
    path.write_bytes(path.read_bytes()[:1024])  # the first file's header and content, to the byte
    with pytest.raises(SourceError, match="the end is missing"):
        unpack(path, tmp_path / "out", ignore)


def test_bits_that_flipped(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a": bytes(range(256)) * 40})
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match="broken or cut off"):
        unpack(path, tmp_path / "out", ignore)


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a": b"x"})
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = data.index(signature) + place
        data[start : start + 2] = struct.pack("<H", 1)
    path.write_bytes(data)
    with pytest.raises(SourceError, match="needs a password"):
        unpack(path, tmp_path / "out", ignore)


def test_no_archive_at_all(tmp_path: Path) -> None:
    for name in ("x.tgz", "x.zip", "x"):
        (tmp_path / name).write_text("<html>not found</html>" * 100, encoding="utf-8")
        with pytest.raises(SourceError, match=r"(can not be unpacked|broken or cut off)"):
            unpack(tmp_path / name, tmp_path / "out", ignore)
