"""Bytes of a picture file -> an upright RGB picture, within limits. The only place where pictures are decoded.

What may change here: which files are accepted and how much of a machine one of them may take. What may not, without
a new decode rule in the bundle's manifest: how the same bytes become pixels, since every stored vector hangs on it.
"""

from __future__ import annotations

import io
import re
import stat
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from index.errors import BrokenImageError, ImageError, ImageTooLargeError, UnsupportedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # an MPO is opened as the JPEG that it begins with
SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif"],
)
_ORIENTATION_TAG = int(ExifTags.Base.Orientation)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MOST_SCANS = 100  # of a JPEG; progressive ones have about ten
_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # and not a byte 0xff of coded pixels, nor a restart
_READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
# How a readable file begins: where Pillow can not open it all the same, it is damaged rather than of another kind.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")


@dataclass(frozen=True)
class ImageLimits:
    """How much one picture may ask for."""

    max_bytes: int = 32 * 2**20  # of the file
    max_pixels: int = 50_000_000  # width * height, before any reduction


def read_bytes(path: Path, limits: ImageLimits) -> bytes:
    """The bytes of a picture file, refused before they are read if there are too many.

    Raises ImageTooLargeError, or BrokenImageError where the file can not be read.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # a pipe or a device would keep the reader waiting for ever
            raise BrokenImageError("can not be read: not a file", where=path)
        size = state.st_size
        if size > limits.max_bytes:
            raise ImageTooLargeError("too many bytes", where=path, expected=f"at most {limits.max_bytes}", found=size)
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise BrokenImageError(f"can not be read: {reason}", where=path) from error


def decode(data: bytes, limits: ImageLimits, reduce_to: int | None = None) -> Image.Image:
    """An upright RGB picture from the bytes of a file; of an animation, the first frame.

    `reduce_to`: the shorter side, in pixels, below which a JPEG may not be reduced while it is decoded. The decoder
    then uses the smallest of the scales 1/8, 1/4, 1/2 that keeps both sides at or above it: a fixed rule, part of the
    manifest, because it decides the pixels.

    Raises ImageTooLargeError, UnsupportedImageError or BrokenImageError.
    """
    if not data:
        raise BrokenImageError("the picture is empty", expected=f"a {_READABLE} file", found="0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            "the picture has too many bytes", expected=f"at most {limits.max_bytes}", found=len(data)
        )
    _silence_pillow()
    try:
        return _decode(data, limits, reduce_to)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        if data.startswith(_SIGNATURES):
            raise BrokenImageError("the picture is truncated or corrupt", found=f"{len(data)} bytes") from error
        raise UnsupportedImageError(
            "not a picture that can be read", expected=f"a {_READABLE} file", found=_describe(data)
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(
            "the picture has too many pixels", expected=f"at most {limits.max_pixels}", found="a bomb"
        ) from error
    except MemoryError as error:
        raise ImageTooLargeError("the picture needs more memory than there is") from error
    except Exception as error:  # Pillow's plugins raise nearly every built-in type on hostile bytes
        raise BrokenImageError(
            "the picture is truncated or corrupt", found=str(error) or type(error).__name__
        ) from error


@cache
def _silence_pillow() -> None:
    """Pillow warns of bombs and bad metadata; the limits decide.

    Once a process and not around each call: `warnings.catch_warnings` swaps a global that all threads share.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _decode(data: bytes, limits: ImageLimits, reduce_to: int | None) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > limits.max_pixels:
            raise ImageTooLargeError(
                "the picture has too many pixels",
                expected=f"at most {limits.max_pixels}",
                found=f"{width}x{height}",
            )
        if width < 1 or height < 1:
            raise BrokenImageError("the picture has no pixels", found=f"{width}x{height}")
        if reduce_to is not None and image.format in ("JPEG", "MPO"):
            image.draft(image.mode, (reduce_to, reduce_to))
        if image.format in ("JPEG", "MPO") and _has_too_many_scans(data):
            raise BrokenImageError("the picture has too many scans", expected=f"at most {_MOST_SCANS}")
        image.load()
        turn = _TURNS.get(_orientation(image))
        rgb = _to_rgb(image)
        return rgb.transpose(turn) if turn is not None else rgb


def _has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG keeps the decoder busy for ever: each scan goes over all of its pixels, and may be a few bytes."""
    if data.count(_SCAN) <= _MOST_SCANS:  # nearly every file
        return False
    scans, at = 0, 2
    while (marker := _MARKER.search(data, at)) is not None:
        at, kind = marker.end(), marker[1]
        if kind == b"\xd9":  # the picture's end: what follows is not decoded
            return False
        if kind not in (b"\x01", b"\xd8"):  # these alone have no length
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
        scans += kind == _SCAN[1:]
        if scans > _MOST_SCANS:
            return True
    return False


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, read after loading: TIFF and AVIF are turned by then and say 1."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata is no reason to refuse good pixels
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that Pillow opens -> RGB; what is transparent shows white behind it."""
    if image.mode.startswith(("I", "F")):
        return _high_depth_to_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", rgba.size, (255, 255, 255))
        rgb.paste(rgba, mask=rgba.getchannel("A"))
        return rgb
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _high_depth_to_grey(image: Image.Image) -> Image.Image:
    """16- and 32-bit integer and float pictures -> 8-bit grey, by the range that their values show."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))  # (h, w)
    top = float(values.max(initial=0.0))
    if image.mode.startswith("I"):
        scale = 255.0 / 65535.0 if top > 255 or image.mode != "I" else 1.0
    else:
        scale = 255.0 if top <= 1.0 else 1.0 if top <= 255.0 else 255.0 / 65535.0
    grey = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = 255  # on white
    return Image.fromarray(grey, mode="L")


def _describe(data: bytes) -> str:
    head = data[:64]
    if head.startswith(b"%PDF"):
        return "a PDF"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "HEIC"
    if head.isascii() and all(byte >= 32 or byte in b"\t\n\r" for byte in head):
        return f"text beginning with {head[:16].decode()!r}"
    return f"{len(data)} bytes beginning with {head[:8].hex(' ')}"
