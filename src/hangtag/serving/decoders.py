"""Decode costly photographs in processes of their own: fairly among clients, in bounded memory and time."""

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

# The process that decodes costly photographs for the service, so that it can be ended where one takes too long.

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
        _answer_request(data, (height, width), max_pixels, target)
        _limit_time(0)


def _answer_request(data: bytes, image_size: tuple[int, int], max_pixels: int, target: BinaryIO) -> None:
    try:
        photograph = decode_photograph(data, image_size, max_pixels)
    except PhotographError as error:
        _write_response(target, {"code": error.code, "reason": error.reason})
        return
    except MemoryError:
        _write_response(target, {"code": "too_many_pixels", "reason": "decoding takes more memory than is allowed"})
        return
    _write_response(target, _describe_photograph(photograph), photograph.pixels.tobytes())


def _describe_photograph(photograph: Photograph) -> dict[str, object]:
    rows, columns = photograph.area
    return {
        "width": photograph.width,
        "height": photograph.height,
        "mode": photograph.mode,
        "area": [rows.start, rows.stop, columns.start, columns.stop],
    }


def _write_response(target: BinaryIO, content: dict[str, object], pixels: bytes = b"") -> None:
    target.write(json.dumps(content).encode() + b"\n" + pixels)
    target.flush()


def _limit_time(seconds: float) -> None:
    """End this process after some seconds of CPU time; 0 sets no limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(memory: int) -> None:
    """Limit the memory to the current use and some bytes more, where the system supports it."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (not on every system)

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()


# Bytes that all photographs in work may take together, and seconds that one may, on however busy a machine.
MEMORY, SECONDS = 400_000_000, 25.0
MOST_PROCESSES = 4
# Of a format whose header is not read here (TIFF), each pixel may take so many.
UNKNOWN_BYTES = 14
Decoded = Photograph | Failure


@dataclass(frozen=True)
class _Job:
    data: bytes
    max_pixels: int
    memory: int
    future: "Future[Decoded]"


class Decoders:
    """Processes that decode one photograph each at a time; a process is started when it is first needed.

    Args:
        image_size: (height, width) to fit photographs to.
        count: Processes.
        max_pixels: Larger photographs are refused.
        max_waiting: Photographs that may wait; a client may fill half of it.
        seconds: A photograph that takes longer is refused, and the process ended.
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
        """Return how many pixels a photograph of a format may have."""
        return min(self._max_pixels, MEMORY // (UNKNOWN_BYTES if kind is None else BYTES[kind]))

    def refuse(self, header: Header | None) -> Failure | None:
        """Return why a photograph is refused from its header alone; None where it is not."""
        if header is None:
            return None
        if header.pixels > self.limit_pixels(header.kind):
            allowed = self.limit_pixels(header.kind)
            reason = f"{header.width} x {header.height} pixels, {allowed} are allowed in a file of this kind"
            return Failure("too_many_pixels", reason)
        if header.scans > MAX_SCANS:
            return Failure("too_many_scans", f"more than {MAX_SCANS} scans, which no camera writes")
        return None

    def submit(self, data: bytes, header: Header | None, client: str) -> "Future[Decoded]":
        """Put a photograph in the queue.

        Args:
            data: The file's content.
            header: What it states of itself; None where that is not known.
            client: Whose turn it takes.

        Raises:
            QueueFullError: Too many wait already.
            ShareError: Too many of this client do.
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
        """End the processes; photographs that are not decoded yet are dropped."""
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
            return Failure("stopping", "the service is being stopped")
        return process.decode(job.data, self._image_size, job.max_pixels, self._seconds)


class _Process:
    """A process that is started when it is needed, and again after it was ended."""

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
            # It was ended, by the timer or by the system for want of memory: the next photograph gets another.
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
    """Send a photograph and read the answer.

    Raises:
        OSError: The process has ended.
        ValueError: It ended while it answered.
    """
    assert running.stdin
    assert running.stdout
    height, width = image_size
    running.stdin.write(QUESTION.pack(len(data), height, width, max_pixels, 2 * MEMORY))
    running.stdin.write(data)
    running.stdin.flush()
    told = json.loads(running.stdout.readline())
    if "code" in told:
        return Failure(told["code"], told["reason"])
    content = running.stdout.read(height * width * 3)
    pixels = np.frombuffer(content, np.uint8).reshape(height, width, 3)
    top, bottom, left, right = told["area"]
    index = (slice(top, bottom), slice(left, right))
    return Photograph(pixels, told["width"], told["height"], told["mode"], index)
