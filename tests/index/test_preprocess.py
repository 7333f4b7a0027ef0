"""Resize, crop and normalise: against torchvision, against pinned numbers, and at the edges."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from index.images import ImageLimits
from index.preprocess import Preprocessing, crop_center, normalise, preprocess, preprocess_bytes, reduce_to, resize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def rule(**changes: Any) -> Preprocessing:
    """The usual rule at a small size, with `changes`."""
    fields: dict[str, Any] = {"resize": 40, "input_size": 32, "mean": MEAN, "std": STD}
    return Preprocessing(**(fields | changes))


def noise(width: int, height: int) -> Image.Image:
    """Random colours, the same on every run."""
    random = np.random.default_rng([width, height])
    return Image.fromarray(random.integers(0, 256, (height, width, 3)).astype(np.uint8))


SIZES = [(40, 40), (41, 40), (40, 41), (33, 77), (77, 33), (99, 101), (500, 333), (7, 5), (39, 611), (2, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_equals_torchvision(size: tuple[int, int], interpolation: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms", reason="needs the training extra")
    mode = transforms.InterpolationMode(interpolation)
    image, ours = noise(*size), rule(interpolation=interpolation)
    resized = transforms.Resize(40, mode, antialias=True)(image)
    assert resize(image, ours).tobytes() == resized.tobytes()
    cropped = transforms.CenterCrop(32)(resized)
    assert crop_center(resize(image, ours), 32).tobytes() == cropped.tobytes()
    expected = transforms.Normalize(MEAN, STD)(transforms.ToTensor()(cropped)).numpy()
    np.testing.assert_allclose(preprocess(image, ours), expected, atol=2e-6)


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (33, 35), (34, 37), (95, 64)])
def test_crop_offsets_equal_torchvision(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms", reason="needs the training extra")
    assert crop_center(noise(*size), 32).tobytes() == transforms.CenterCrop(32)(noise(*size)).tobytes()


@pytest.mark.parametrize(
    ("size", "resized"), [((500, 333), (60, 40)), ((333, 500), (40, 60)), ((7, 5), (56, 40)), ((101, 100), (40, 40))]
)
def test_shorter_side_becomes_resize(size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert resize(noise(*size), rule()).size == resized


def test_squash_takes_the_whole_picture() -> None:
    assert resize(noise(90, 31), rule(resize_mode="squash")).size == (40, 40)


@pytest.mark.parametrize(("width", "left"), [(32, 0), (33, 0), (34, 1), (35, 2), (36, 2), (37, 2), (39, 4)])
def test_crop_offset_is_rounded_to_even(width: int, left: int) -> None:
    columns = np.zeros((32, width, 3), np.uint8)
    columns[:] = np.arange(width)[None, :, None]
    found = np.asarray(crop_center(Image.fromarray(columns), 32))
    assert found[0, 0, 0] == left


def test_normalise_gives_exact_values() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[1, 2] = (255, 127, 1)
    found = normalise(Image.fromarray(pixels), rule(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0)))
    assert found.dtype == np.float32
    assert found.shape == (3, 2, 3)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found[:, 0, 0], [-1.0, -1.0, 0.0], atol=1e-7)
    np.testing.assert_allclose(found[:, 1, 2], [1.0, 127 / 255 * 4 - 1, 1 / 255], atol=3e-7)


def test_every_value_is_normalised_to_float32_precision() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    expected = (np.arange(256)[:, None] / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(normalise(Image.fromarray(ramp), rule())[:, 0].T, expected, atol=5e-7)


def test_pinned_numbers() -> None:
    """Of a picture drawn from integers alone: they change only if the rule's pixels do, which needs a new rule name."""
    y, x = np.mgrid[0:70, 0:90]
    pixels = np.stack([(x * 7 + y * 3) % 256, (x * x + y) % 256, (x * y) % 256], axis=-1).astype(np.uint8)
    found = preprocess(Image.fromarray(pixels), rule())
    expected = [[0.416559, 0.793304, 1.015926], [-0.705182, -0.460084, -0.652661], [0.496209, 1.071372, 0.583355]]
    np.testing.assert_allclose(found[:, [0, 13, 31], [0, 17, 31]], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 20000), (20000, 3), (1, 17), (640, 1)])
def test_extreme_shapes_stay_small_and_finite(size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 90)).save(buffer, "PNG")
    tracemalloc.start()
    array = preprocess_bytes(buffer.getvalue(), rule(resize=256, input_size=224), ImageLimits())
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    assert array.shape == (3, 224, 224)
    assert np.isfinite(array).all()
    assert np.ptp(array, axis=(1, 2)).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (2, 90)])
def test_long_picture_is_never_resized_beyond_16_to_1(size: tuple[int, int]) -> None:
    assert max(resize(noise(*size), rule()).size) == 16 * 40


def test_long_picture_keeps_its_middle() -> None:
    pixels = np.zeros((2, 1000, 3), np.uint8)
    pixels[:, 490:510] = 255
    assert np.asarray(crop_center(resize(Image.fromarray(pixels), rule()), 32)).min() > 250


def test_jpeg_is_reduced_to_twice_the_size() -> None:
    assert reduce_to(rule(resize=256, input_size=224)) == 512


def test_reduced_jpeg_gives_nearly_the_same_array() -> None:
    y, x = np.mgrid[0:600, 0:800]
    pixels = np.stack([128 + 100 * np.sin(x / 40), 128 + 100 * np.cos(y / 50), (x + y) / 6], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    reduced = preprocess_bytes(buffer.getvalue(), rule(), ImageLimits())
    whole = preprocess(Image.open(io.BytesIO(buffer.getvalue())), rule())
    assert float(np.abs(reduced - whole).mean()) < 0.02
    assert (reduced != whole).any()


@pytest.mark.parametrize(
    "changes",
    [
        {"resize": 31},
        {"resize": 0},
        {"resize": 5000},
        {"input_size": 0},
        {"std": (0.0, 0.2, 0.2)},
        {"std": (float("nan"), 0.2, 0.2)},
        {"mean": (float("inf"), 0.2, 0.2)},
        {"mean": (0.1, 0.2)},
        {"interpolation": "nearest"},
        {"decode": "other"},
        {"crop": "five"},
        {"resize": "40"},
        {"extra": 1},
    ],
    ids=str,
)
def test_rules_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(**changes)
