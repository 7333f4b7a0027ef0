"""The body of an upload -> the bytes of the picture in it, counted while they stream in.

What may change here: which form fields there are. Not: that no body is ever held beyond its limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from index.errors import BrokenImageError
from service.problems import BadFormError, BodyTooLargeError, SlowBodyError, UnsupportedBodyError

_OVERHEAD = 64 * 2**10  # bytes for boundaries and headers of the parts
_FIELD_BYTES = 4096  # of a field that is no file
_DRAIN = 4  # times the limit that are read and thrown away, so that the client gets to read the answer


async def read_image(request: Request, max_bytes: int, seconds: float) -> bytes:
    """The bytes of the one file `image` of a multipart form that comes in within `seconds`.

    Raises UnsupportedBodyError, SlowBodyError, BodyTooLargeError, BadFormError or BrokenImageError.
    """
    form = await _read_form(request, max_bytes, seconds)
    try:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise BadFormError(
                "there is no file `image` in the form",
                expected="one file `image`",
                found=_describe_fields(form),
            )
        data = await image.read()
    finally:
        await form.close()
    if len(data) > max_bytes:
        raise BodyTooLargeError("the picture has too many bytes", expected=f"at most {max_bytes}", found=len(data))
    if not data:
        raise BrokenImageError("the picture is empty", expected="the bytes of a picture file", found="0 bytes")
    return data


async def _read_form(request: Request, max_bytes: int, seconds: float) -> FormData:
    limit = max_bytes + _OVERHEAD
    headers = Headers({"content-type": _check_content_type(request)})
    parser = MultiPartParser(
        headers, _read_bounded(request, limit), max_files=1, max_fields=8, max_part_size=_FIELD_BYTES
    )
    parser.spool_max_size = limit  # bounded already: nothing need go through a disk
    try:
        async with asyncio.timeout(seconds):
            return await parser.parse()
    except TimeoutError as error:
        raise SlowBodyError("the body takes too long to come in", expected=f"within {seconds:g} s") from error
    except ClientDisconnect as error:
        raise BadFormError("the client went away before the form was complete") from error
    except (MultiPartException, ValueError, KeyError) as error:
        message = getattr(error, "message", str(error))
        raise BadFormError("the form can not be read", expected="one file `image`", found=message) from error


def _check_content_type(request: Request) -> str:
    """The Content-Type without its charset: some of Python's codecs take minutes for a megabyte of field."""
    text = request.headers.get("content-type", "")
    kind, *parameters = text.split(";")
    if kind.strip().lower() != "multipart/form-data":
        raise UnsupportedBodyError(
            "the body is not a form",
            expected="multipart/form-data with a file `image`",
            found=text[:100] or "no Content-Type",
            remedy="curl does it with -F image=@FILE",
        )
    return ";".join([kind, *(each for each in parameters if not each.strip().lower().startswith("charset"))])


def _describe_fields(form: FormData) -> str:
    """The names of the fields, and which of them are text."""
    names = [
        f"{'file' if isinstance(value, UploadFile) else 'text'} `{name[:40]}`" for name, value in form.multi_items()
    ]
    return ", ".join(names) or "no whole field"


async def _read_bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received <= limit:
            yield chunk
        elif received > _DRAIN * limit:
            break
    if received > limit:
        raise BodyTooLargeError(
            "the body has too many bytes", expected=f"at most {limit}", found=f"at least {received}"
        )
