"""What goes out has the same pixels and none of the metadata, whatever the format."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from index.errors import OriginalMissingError
from index.images import ImageLimits, decode
from index.originals import PictureFile, sniff_media_type
from index.published import publish
from index.thumbnails import draw_thumbnail

SECRET = b"SECRET-48.8584N-2.2945E"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = SECRET.decode()  # make
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    return exif


def save(format_: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, format_, **options)
    return buffer.getvalue()


def send(data: bytes) -> PictureFile:
    return publish(PictureFile(data, sniff_media_type(data)), ImageLimits())


def pixels(data: bytes) -> Any:
    return np.asarray(decode(data, ImageLimits()))


def write_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET.decode())
    info.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    info.add_text("Comment", SECRET.decode(), zip=True)
    return info


XMP = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "format_",
    ["JPEG", "progressive", "PNG", "WEBP", "TIFF", "AVIF"],
)
def test_same_pixels_no_metadata(format_: str, orientation: int) -> None:
    exif = exif_of(orientation)
    data = {
        "JPEG": lambda: save("JPEG", exif=exif, comment=SECRET, icc_profile=PROFILE, xmp=XMP),
        "progressive": lambda: save("JPEG", exif=exif, progressive=True, restart_marker_rows=1),
        "PNG": lambda: save("PNG", exif=exif, pnginfo=write_text(), icc_profile=PROFILE),
        "WEBP": lambda: save("WEBP", exif=exif, xmp=XMP, icc_profile=PROFILE, lossless=True),
        "TIFF": lambda: save("TIFF", exif=exif),
        "AVIF": lambda: save("AVIF", exif=exif, xmp=XMP),
    }[format_]()
    sent = send(data)
    assert SECRET in data
    assert SECRET not in sent.data
    assert (pixels(sent.data) == pixels(data)).all()
    with Image.open(io.BytesIO(sent.data)) as image:
        image.load()
        assert set(image.getexif()) <= {0x0112}
        assert not image.getexif().get_ifd(0x8825)
        assert not {"comment", "xmp", "Author", "XML:com.adobe.xmp", "Comment"} & set(image.info)
        assert Image.MIME[image.format or ""] == sent.media_type
        if format_ in ("JPEG", "PNG", "WEBP"):
            assert image.info["icc_profile"] == PROFILE
    if format_ not in ("TIFF", "AVIF"):
        assert sent.media_type == sniff_media_type(data)
        again = send(sent.data).data
        assert again == sent.data


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_of_a_jpeg(mode: str) -> None:
    data = save("JPEG", picture(mode), exif=exif_of(6))
    sent = send(data).data
    assert SECRET not in sent
    assert (pixels(sent) == pixels(data)).all()


def test_an_animation_keeps_its_frames() -> None:
    frames = [Image.fromarray(np.full((20, 20, 3), value, np.uint8)).convert("P") for value in (10, 90, 200)]
    for format_, options in (
        ("GIF", {"comment": SECRET, "loop": 0, "duration": 70}),
        ("WEBP", {"xmp": XMP, "exif": exif_of(1), "duration": 70}),
    ):
        data = save(format_, frames[0], save_all=True, append_images=frames[1:], **options)
        sent = send(data).data
        assert SECRET in data
        assert SECRET not in sent
        with Image.open(io.BytesIO(sent)) as image, Image.open(io.BytesIO(data)) as original:
            assert (image.n_frames, image.info.get("loop")) == (original.n_frames, original.info.get("loop"))  # type: ignore[attr-defined]
            for number in range(3):
                image.seek(number)
                original.seek(number)
                assert (np.asarray(image.convert("RGB")) == np.asarray(original.convert("RGB"))).all()


def test_what_comes_after_the_picture_is_cut_off() -> None:
    for format_ in ("JPEG", "PNG", "GIF", "WEBP"):
        data = save(format_)
        assert send(data).data == data  # nothing to take away
        assert send(data + SECRET).data == data
    first, second = save("JPEG", exif=exif_of(1)), save("JPEG", exif=exif_of(1))
    with io.BytesIO() as buffer:
        picture().save(buffer, "MPO", save_all=True, append_images=[picture()], exif=exif_of(1))
        assert SECRET in buffer.getvalue()
        assert SECRET not in send(buffer.getvalue()).data
    assert SECRET not in send(first + second).data


def test_xmp_that_alone_says_how_the_picture_is_turned() -> None:
    turned = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/>' + SECRET + b"</x:xmpmeta>"
    data = save("JPEG", xmp=turned)
    sent = send(data).data
    assert SECRET not in sent
    assert pixels(sent).shape == pixels(data).shape == (60, 40, 3)


def test_unknown_chunks_go() -> None:
    data = save("PNG")
    body = b"prVt" + SECRET
    chunk = struct.pack(">I", len(SECRET)) + body + struct.pack(">I", zlib.crc32(body))
    assert send(data[:33] + chunk + data[33:]).data == data
    segment = b"\xff\xef" + struct.pack(">H", len(SECRET) + 2) + SECRET
    jpeg = save("JPEG")
    assert send(jpeg[:2] + segment + jpeg[2:]).data == jpeg


def test_a_file_that_is_cut_short_is_drawn_again_or_gone() -> None:
    data = save("JPEG", exif=exif_of(6))
    with pytest.raises(OriginalMissingError):
        send(data[: len(data) // 2])


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]), st.integers(0, 2**32 - 1))
def test_a_damaged_file_goes_out_as_a_picture_or_not_at_all(format_: str, seed: int) -> None:
    """And raises nothing else."""
    random = np.random.default_rng(seed)
    options: dict[str, Any] = {"comment": SECRET} if format_ == "GIF" else {"exif": exif_of(3)}
    data = bytearray(save(format_, **options))
    for place in random.integers(0, min(400, len(data)), 3):
        data[place] = random.integers(256)
    try:
        sent = send(bytes(data))
    except OriginalMissingError:
        return
    assert sniff_media_type(sent.data) == sent.media_type


def test_a_thumbnail_has_no_comment_of_the_original() -> None:
    assert SECRET not in draw_thumbnail(decode(save("JPEG", comment=SECRET, exif=exif_of(3)), ImageLimits()))
