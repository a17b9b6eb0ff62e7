"""Decode costly photographs in separate processes, fairly among clients and with limits on memory and time.

`Decoders` starts the processes and sends them photographs; `python -m hangtag.serving.decoders` runs such a process. A
process that takes too long or too much memory can be killed, unlike a thread of the service.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hangtag.catalog.image_headers import BYTES, MAX_SCANS, Header
from hangtag.catalog.images import Photograph, PhotographError, decode_photograph
from hangtag.inference.streaming import Failure
from hangtag.serving.fair_queue import FairQueue, Shares

# A request to a process: the size of the file in bytes, height, width, and the limits of pixels and of memory in bytes.
REQUEST = struct.Struct(">QIIQQ")
NICENESS = 15
# CPU seconds for one photograph, after which the process is killed; far more than any allowed photograph takes.
PROCESSOR_SECONDS = 10.0
# Bytes for all photographs being decoded at once, and seconds for one photograph on a busy machine.
MEMORY, SECONDS = 400_000_000, 25.0
MOST_PROCESSES = 4
# Bytes per pixel for a format whose header is not read here (TIFF).
UNKNOWN_BYTES = 14
Decoded = Photograph | Failure


@dataclass(frozen=True)
class _Job:
    data: bytes
    max_pixels: int
    memory: int
    future: "Future[Decoded]"


class Decoders:
    """A pool of processes that each decode one photograph at a time. A process is started when it is first needed.

    Args:
        image_size: The target (height, width) of photographs.
        count: The number of processes, at most `MOST_PROCESSES`.
        max_pixels: The maximum size of a photograph; larger ones are rejected.
        max_waiting: The maximum number of waiting photographs; a client may use half.
        seconds: The time limit of a photograph; one that takes longer is rejected, and its process killed.
    """

    def __init__(
        self, image_size: tuple[int, int], *, count: int, max_pixels: int, max_waiting: int, seconds: float = SECONDS
    ) -> None:
        self._image_size, self._max_pixels, self._seconds = image_size, max_pixels, seconds
        self._jobs: FairQueue[_Job] = FairQueue()
        self._shares = Shares(max_waiting)
        self._memory, self._used, self._is_open = threading.Condition(), 0, True
        self._processes = [_Process() for _ in range(min(count, MOST_PROCESSES))]
        for number, process in enumerate(self._processes):
            threading.Thread(target=self._work, args=(process,), name=f"decode-{number}", daemon=True).start()

    def limit_pixels(self, kind: str | None) -> int:
        """Return the maximum number of pixels of a photograph in a format (None for a format without a read header)."""
        return min(self._max_pixels, MEMORY // (UNKNOWN_BYTES if kind is None else BYTES[kind]))

    def refuse(self, header: Header | None) -> Failure | None:
        """Return the failure of a photograph that is rejected by its header alone, or None if it is not rejected."""
        if header is None:
            return None
        if header.pixels > self.limit_pixels(header.kind):
            allowed = self.limit_pixels(header.kind)
            reason = f"{header.width} x {header.height} pixels, {allowed} are allowed in a file of this kind"
            return Failure("too_many_pixels", reason)
        if header.scans > MAX_SCANS:
            return Failure("too_many_scans", f"more than {MAX_SCANS} scans; no camera writes so many")
        return None

    def submit(self, data: bytes, header: Header | None, client: str) -> "Future[Decoded]":
        """Add a photograph to the queue.

        Args:
            data: The file's content.
            header: Its parsed header; None for a format whose header is not read.
            client: The key of the client; clients take turns.

        Raises:
            QueueFullError: Too many photographs are waiting.
            ShareError: Too many photographs of this client are waiting.
        """
        self._shares.take(client, 1)
        memory = MEMORY if header is None else min(header.memory, MEMORY)
        limit = self.limit_pixels(None) if header is None else min(header.pixels, self.limit_pixels(header.kind))
        future: Future[Decoded] = Future()
        future.add_done_callback(lambda _: self._shares.give_back(client, 1))
        cost = float(len(data)) if header is None else header.milliseconds
        self._jobs.put(client, cost, _Job(data, limit, memory, future))
        return future

    def stop(self) -> None:
        """Kill the processes; photographs that are still waiting are not decoded."""
        self._is_open = False
        self._jobs.close()
        for process in self._processes:
            process.end()

    def _work(self, process: "_Process") -> None:
        while (job := self._jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            with self._memory:
                self._memory.wait_for(lambda wanted=job.memory: self._used + wanted <= MEMORY)  # type: ignore[misc]
                self._used += job.memory
            try:
                found = self._decode(process, job)
            except Exception as error:
                job.future.set_exception(error)
            else:
                job.future.set_result(found)
            finally:
                with self._memory:
                    self._used -= job.memory
                    self._memory.notify_all()

    def _decode(self, process: "_Process", job: _Job) -> Decoded:
        if not self._is_open:
            return Failure("stopping", "the service is stopping")
        return process.decode(job.data, self._image_size, job.max_pixels, self._seconds)


class _Process:
    """A handle to one decoding process, which is started when needed and restarted after it was killed."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes, image_size: tuple[int, int], max_pixels: int, seconds: float) -> Decoded:
        running = self._running if self._running and self._running.poll() is None else self._start()
        timer = threading.Timer(seconds, running.kill)
        timer.daemon = True
        timer.start()
        try:
            return _request_decoding(running, data, image_size, max_pixels)
        except (OSError, ValueError):
            # The timer killed the process, or the system did when memory ran out. The next photograph gets a new one.
            self.end()
            return Failure("too_slow", "decoding takes too long, or too much memory")
        finally:
            timer.cancel()

    def end(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        running.kill()
        running.wait()
        for pipe in (running.stdin, running.stdout):
            with suppress(OSError, ValueError):
                if pipe:
                    pipe.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.end()
        command = [sys.executable, "-m", "hangtag.serving.decoders"]
        self._running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return self._running


def _request_decoding(
    running: "subprocess.Popen[bytes]", data: bytes, image_size: tuple[int, int], max_pixels: int
) -> Decoded:
    """Send a photograph to a process and read the decoded pixels or the failure.

    Raises:
        OSError: The process has ended.
        ValueError: It ended in the middle of its response.
    """
    assert running.stdin
    assert running.stdout
    height, width = image_size
    running.stdin.write(REQUEST.pack(len(data), height, width, max_pixels, 2 * MEMORY))
    running.stdin.write(data)
    running.stdin.flush()
    response = json.loads(running.stdout.readline())
    if "code" in response:
        return Failure(response["code"], response["reason"])
    content = running.stdout.read(height * width * 3)
    pixels = np.frombuffer(content, np.uint8).reshape(height, width, 3)
    top, bottom, left, right = response["region"]
    region = (slice(top, bottom), slice(left, right))
    return Photograph(pixels, response["width"], response["height"], response["mode"], region)


def main() -> None:
    """Run a decoding process: decode photographs from stdin until stdin is closed, as when the service exits."""
    # Ctrl-C reaches the whole process group; the service closes stdin when this process is no longer needed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    is_limited = False
    while len(request := source.read(REQUEST.size)) == REQUEST.size:
        size, height, width, max_pixels, memory = REQUEST.unpack(request)
        if not is_limited:
            _limit_memory(memory)
            is_limited = True
        data = source.read(size)
        _limit_time(PROCESSOR_SECONDS)
        _decode_to(target, data, (height, width), max_pixels)
        _limit_time(0)


def _decode_to(target: BinaryIO, data: bytes, image_size: tuple[int, int], max_pixels: int) -> None:
    """Decode a photograph and write the response: a line of JSON, followed by the pixels if decoding succeeded."""
    try:
        photograph = decode_photograph(data, image_size, max_pixels)
    except PhotographError as error:
        _write_response(target, {"code": error.code, "reason": error.reason})
        return
    except MemoryError:
        _write_response(target, {"code": "too_many_pixels", "reason": "decoding takes more memory than is allowed"})
        return
    rows, columns = photograph.area
    response = {
        "width": photograph.width,
        "height": photograph.height,
        "mode": photograph.mode,
        "region": [rows.start, rows.stop, columns.start, columns.stop],
    }
    _write_response(target, response, photograph.pixels.tobytes())


def _write_response(target: BinaryIO, content: dict[str, object], pixels: bytes = b"") -> None:
    target.write(json.dumps(content).encode() + b"\n" + pixels)
    target.flush()


def _limit_time(seconds: float) -> None:
    """Kill this process after a number of seconds of CPU time; 0 removes the limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(memory: int) -> None:
    """Limit the memory of this process to `memory` bytes more than it uses now, if the system supports it."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (not on every system)

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
