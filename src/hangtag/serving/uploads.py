"""Read the photographs of a request within limits on bytes, memory and time."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import Message

from hangtag.config import ServeConfig
from hangtag.serving.fair_queue import QueueFullError, ShareError, Shares
from hangtag.serving.middleware import ProblemError

# Bytes of a form for each photograph besides its content: its name and a boundary.
FORM_BYTES_A_PHOTO = 2_000
# The first bytes of each upload do not count against the shared memory, so that small uploads are always accepted.
FREE_BYTES = 64_000
# An upload is rejected if no data arrives for STALL_SECONDS, or if it then has arrived at less than SLOWEST bytes/s.
STALL_SECONDS, SLOWEST = 5.0, 2_000


@dataclass(frozen=True)
class Upload:
    """An uploaded photograph: its file name (None if none was sent) and its content."""

    name: str | None
    content: bytes


class HeldBytes:
    """The memory reserved for one upload, out of the amount that all uploads share."""

    def __init__(self, memory: Shares, client: str) -> None:
        self._memory, self._client, self._received, self.taken = memory, client, 0, 0

    def add(self, count: int) -> None:
        """Reserve memory for bytes that have arrived.

        Raises:
            ProblemError: The shared memory is used up.
        """
        self._received += count
        needed = max(self._received - FREE_BYTES, 0) - self.taken
        if not needed:
            return
        try:
            self._memory.take(self._client, needed)
        except QueueFullError:
            raise ProblemError(503, "overloaded", "Too much is being uploaded. Try again soon.", 1) from None
        except ShareError:
            message = "Too much is being uploaded from this address. Wait for a response first."
            raise ProblemError(429, "too_many_requests", message, 1) from None
        self.taken += needed

    def give_back(self) -> None:
        """Release the reserved memory."""
        if self.taken:
            self._memory.give_back(self._client, self.taken)
            self.taken = 0


@contextmanager
def hold_bytes(memory: Shares, client: str) -> Iterator[HeldBytes]:
    """Hold the memory of one upload until its request is finished."""
    held = HeldBytes(memory, client)
    try:
        yield held
    finally:
        held.give_back()


async def read_uploads(request: Request, config: ServeConfig, held: HeldBytes) -> list[Upload]:
    """Read the photographs of a request: its body, or the files of a form.

    Args:
        request: The request.
        config: The settings with the limits.
        held: The memory reserved for the upload.

    Raises:
        ProblemError: There are no photographs, too many or too large ones; the media type is not supported; or the
            upload is too slow.
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
    """Return the maximum size of a form in bytes."""
    return config.max_request_bytes + FORM_BYTES_A_PHOTO * config.max_photos


def _limit_body(request: Request, limit: int, held: HeldBytes) -> None:
    """Limit the size and time of a request body: reading beyond a limit raises a `ProblemError`.

    Raises:
        ProblemError: The `Content-Length` is above the limit.
    """
    problem = ProblemError(413, "too_large", f"More than {limit:,} bytes. Send less at once, or smaller pictures.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise problem
    receive, received, started = request._receive, 0, time.monotonic()

    async def receive_limited() -> Message:
        nonlocal received
        try:
            async with asyncio.timeout(STALL_SECONDS):
                message = await receive()
        except TimeoutError:
            raise _make_slow_problem() from None
        size = len(message.get("body", b""))
        received += size
        if received > limit:
            raise problem
        if message.get("more_body") and received < SLOWEST * (time.monotonic() - started - STALL_SECONDS):
            raise _make_slow_problem()
        held.add(size)
        return message

    request._receive = receive_limited


def _make_slow_problem() -> ProblemError:
    return ProblemError(408, "slow_upload", "The upload is too slow. Send smaller pictures, or try again.")


async def _read_form(request: Request, config: ServeConfig) -> list[Upload]:
    too_many = ProblemError(
        413, "too_many_photographs", f"More than {config.max_photos} photographs. Send them in several requests."
    )
    try:
        form = await request.form(max_files=config.max_photos, max_fields=config.max_photos)
    except (MultiPartException, HTTPException, FormParserError) as error:
        # Older versions of Starlette let FormParserError through.
        if "Too many files" in str(getattr(error, "detail", error)):
            raise too_many from None
        raise ProblemError(422, "damaged_form", "The form cannot be read. Send multipart/form-data.") from None
    try:
        form_files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not form_files:
            raise ProblemError(422, "no_photograph", "The form has no file. Send photographs as files.")
        uploads = []
        for file in form_files:
            if (file.size or 0) > config.max_bytes:
                message = f"A photograph has more than {config.max_bytes:,} bytes. Send a smaller one."
                raise ProblemError(413, "too_large", message)
            uploads.append(Upload(file.filename, await file.read()))
        return uploads
    finally:
        await form.close()
