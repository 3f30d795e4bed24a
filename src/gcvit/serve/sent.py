"""The pictures in a request: a form's files, JSON with Base64, or the file itself as the body."""

import json
from base64 import b64decode

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gcvit.data.members import FileInMemory
from gcvit.wording import harmless

HOW = (
    'send pictures as a form\'s files (multipart/form-data), as JSON {"images": [BASE64, …]}, or one file as the body '
    "with a Content-Type of image/…"
)


async def pictures_in(request: Request, most: int) -> tuple[list[FileInMemory], bool]:
    """The pictures, not decoded yet, and whether they came as a list.

    most: so many may come at once. Raises HTTPException: 400 for what is malformed or empty, 413 for more than `most`,
    415 for another type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found, several = await _of_form(request, most), True
    elif kind == "application/json":
        found, several = _of_json(await request.body()), True
    elif kind.startswith("image/") or kind == "application/octet-stream":
        found, several = [FileInMemory("picture", await request.body())], False
    else:
        raise HTTPException(415, HOW)
    if not found:
        raise HTTPException(400, f"no picture came; {HOW}")
    if len(found) > most:
        raise HTTPException(413, f"{len(found)} pictures; {most} are the most in one request")
    return found, several


async def _of_form(request: Request, most: int) -> list[FileInMemory]:
    async with request.form(max_files=most, max_fields=most) as form:
        parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        return [FileInMemory(harmless(part.filename or "picture", keep=""), await part.read()) for part in parts]


def _of_json(body: bytes) -> list[FileInMemory]:
    try:
        images = json.loads(body)["images"]
        if not isinstance(images, list):
            raise TypeError("images is no list")
        return [FileInMemory(f"images[{i}]", b64decode(image, validate=True)) for i, image in enumerate(images)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise HTTPException(400, f"not as expected ({harmless(str(error), keep='')}); {HOW}") from None
