"""Read the photographs of a request, never more of it than is allowed."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from hangtag.config import ServeConfig
from hangtag.serving.problems import ProblemError

# Beside the photographs themselves: names and boundaries of a form.
FORM_BYTES_A_PHOTO = 2_000


@dataclass(frozen=True)
class Upload:
    """A photograph as it was sent: its name, where it has one, and its content."""

    name: str | None
    content: bytes


async def read_uploads(request: Request, config: ServeConfig) -> list[Upload]:
    """Read the photographs of a request, without ever holding more than is allowed.

    Raises:
        ProblemError: There are none, they are too many or too large, or they come in another form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_form = kind == "multipart/form-data"
    if not (is_form or kind.startswith("image/") or kind in ("", "application/octet-stream")):
        message = "Send a photograph as image/jpeg, or several as multipart/form-data."
        raise ProblemError(415, "unsupported_media_type", message)
    limit = config.max_bytes
    if is_form:
        limit = config.max_request_bytes + FORM_BYTES_A_PHOTO * config.max_photos
    _limit_body(request, limit)
    if is_form:
        return await _read_form(request, config)
    content = await request.body()
    return [Upload(None, content)]


def _limit_body(request: Request, limit: int) -> None:
    """Refuse a body that says or turns out to be larger; what is beyond the limit is never read.

    Raises:
        ProblemError: The request's header says that it is larger.
    """
    problem = ProblemError(413, "too_large", f"More than {limit:,} bytes. Send less at once, or smaller pictures.")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise problem
    receive, seen = request._receive, 0

    async def limited() -> Any:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise problem
        return message

    request._receive = limited


async def _read_form(request: Request, config: ServeConfig) -> list[Upload]:
    too_many = ProblemError(
        413, "too_many_photographs", f"More than {config.max_photos} photographs. Send them in several requests."
    )
    try:
        form = await request.form(max_files=config.max_photos, max_fields=config.max_photos)
    except (MultiPartException, HTTPException) as error:
        if "Too many files" in str(getattr(error, "detail", error)):
            raise too_many from None
        raise ProblemError(422, "damaged_form", "The form cannot be read. Send multipart/form-data.") from None
    try:
        found = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not found:
            raise ProblemError(422, "no_photograph", "The form has no file. Send photographs as files.")
        uploads = []
        for file in found:
            if (file.size or 0) > config.max_bytes:
                message = f"A photograph has more than {config.max_bytes:,} bytes. Send a smaller one."
                raise ProblemError(413, "too_large", message)
            uploads.append(Upload(file.filename, await file.read()))
        return uploads
    finally:
        await form.close()
