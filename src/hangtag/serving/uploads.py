"""Read the photographs of a request, never more of it than is allowed."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from hangtag.config import ServeConfig
from hangtag.serving.fair_queue import QueueFullError, ShareError, Shares
from hangtag.serving.middleware import ProblemError

# Beside the photographs themselves: names and boundaries of a form.
FORM_BYTES_A_PHOTO = 2_000
# Of each upload these bytes are not counted as taken from the memory for all uploads, so that small ones always pass.
FREE_BYTES = 64_000
# An upload that brings nothing for so many seconds, or after them fewer bytes a second, is given up.
STALL_SECONDS, SLOWEST = 5.0, 2_000


@dataclass(frozen=True)
class Upload:
    """A photograph as it was sent: its name, where it has one, and its content."""

    name: str | None
    content: bytes


class HeldBytes:
    """The bytes of one upload that are in memory, taken from what all uploads share."""

    def __init__(self, memory: Shares, client: str) -> None:
        self._memory, self._client, self._seen, self.taken = memory, client, 0, 0

    def add(self, count: int) -> None:
        """Count bytes that have come.

        Raises:
            ProblemError: There is no room for them.
        """
        self._seen += count
        wanted = max(self._seen - FREE_BYTES, 0) - self.taken
        if not wanted:
            return
        try:
            self._memory.take(self._client, wanted)
        except QueueFullError:
            raise ProblemError(503, "overloaded", "Too much is being uploaded. Try again soon.", 1) from None
        except ShareError:
            message = "Too much is being uploaded from this address. Wait for an answer first."
            raise ProblemError(429, "too_many_requests", message, 1) from None
        self.taken += wanted

    def give_back(self) -> None:
        """Return all that was taken."""
        if self.taken:
            self._memory.give_back(self._client, self.taken)
            self.taken = 0


@contextmanager
def hold_bytes(memory: Shares, client: str) -> Iterator[HeldBytes]:
    """Count the bytes of one upload until it is answered."""
    held = HeldBytes(memory, client)
    try:
        yield held
    finally:
        held.give_back()


async def read_uploads(request: Request, config: ServeConfig, held: HeldBytes) -> list[Upload]:
    """Read the photographs of a request, without ever holding more than is allowed.

    Args:
        request: The request.
        config: Settings.
        held: Where its bytes are counted.

    Raises:
        ProblemError: There are none, they are too many or too large, or they come in another form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_form = kind == "multipart/form-data"
    if not (is_form or kind.startswith("image/") or kind in ("", "application/octet-stream")):
        message = "Send a photograph as image/jpeg, or several as multipart/form-data."
        raise ProblemError(415, "unsupported_media_type", message)
    limit = find_most_bytes(config) if is_form else config.max_bytes
    _limit_body(request, limit, held)
    if is_form:
        return await _read_form(request, config)
    content = await request.body()
    return [Upload(None, content)]


def find_most_bytes(config: ServeConfig) -> int:
    """Return how many bytes a form may have."""
    return config.max_request_bytes + FORM_BYTES_A_PHOTO * config.max_photos


def _limit_body(request: Request, limit: int, held: HeldBytes) -> None:
    """Refuse a body that is too large or too slow; nothing beyond the limit is read.

    Raises:
        ProblemError: The request's header says that it is larger.
    """
    problem = ProblemError(413, "too_large", f"More than {limit:,} bytes. Send less at once, or smaller pictures.")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise problem
    receive, seen, started = request._receive, 0, time.monotonic()

    async def limited() -> Any:
        nonlocal seen
        try:
            async with asyncio.timeout(STALL_SECONDS):
                message = await receive()
        except TimeoutError:
            raise _refuse_slow() from None
        size = len(message.get("body", b""))
        seen += size
        if seen > limit:
            raise problem
        if message.get("more_body") and seen < SLOWEST * (time.monotonic() - started - STALL_SECONDS):
            raise _refuse_slow()
        held.add(size)
        return message

    request._receive = limited


def _refuse_slow() -> ProblemError:
    return ProblemError(408, "slow_upload", "The upload comes too slowly. Send smaller pictures, or try again.")


async def _read_form(request: Request, config: ServeConfig) -> list[Upload]:
    too_many = ProblemError(
        413, "too_many_photographs", f"More than {config.max_photos} photographs. Send them in several requests."
    )
    try:
        form = await request.form(max_files=config.max_photos, max_fields=config.max_photos)
    except (MultiPartException, HTTPException, FormParserError) as error:
        # The last comes through older versions of Starlette.
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
