"""The process that decodes costly photographs for the service, so that it can be ended where one takes too long."""

import json
import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from hangtag.catalog.images import Photograph, PhotographError, decode_photograph

# What is asked: bytes of the file, height, width, the most pixels, and the most bytes that decoding may take.
QUESTION = struct.Struct(">QIIQQ")
NICENESS = 15
# Seconds of a processor for one photograph; what takes longer ends the process. Far above what any allowed one takes.
PROCESSOR_SECONDS = 10.0


def main() -> None:
    """Decode what comes on stdin until it ends, which it does when the service does."""
    # Ctrl-C reaches the whole group of processes; the service says itself when this one is no longer needed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    is_limited = False
    while len(asked := source.read(QUESTION.size)) == QUESTION.size:
        size, height, width, max_pixels, memory = QUESTION.unpack(asked)
        if not is_limited:
            _limit_memory(memory)
            is_limited = True
        data = source.read(size)
        _limit_time(PROCESSOR_SECONDS)
        _answer(data, (height, width), max_pixels, target)
        _limit_time(0)


def _answer(data: bytes, image_size: tuple[int, int], max_pixels: int, target: BinaryIO) -> None:
    try:
        photograph = decode_photograph(data, image_size, max_pixels)
    except PhotographError as error:
        _write(target, {"code": error.code, "reason": error.reason})
        return
    except MemoryError:
        _write(target, {"code": "too_many_pixels", "reason": "decoding takes more memory than is allowed"})
        return
    _write(target, _describe(photograph), photograph.pixels.tobytes())


def _describe(photograph: Photograph) -> dict[str, object]:
    rows, columns = photograph.place
    return {
        "width": photograph.width,
        "height": photograph.height,
        "mode": photograph.mode,
        "place": [rows.start, rows.stop, columns.start, columns.stop],
    }


def _write(target: BinaryIO, content: dict[str, object], pixels: bytes = b"") -> None:
    target.write(json.dumps(content).encode() + b"\n" + pixels)
    target.flush()


def _limit_time(seconds: float) -> None:
    """End this process after so many seconds of work, whatever it is in; 0 sets no limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(memory: int) -> None:
    """Allow so many bytes beside what is in use now, where the system knows both."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (not on every system)

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
