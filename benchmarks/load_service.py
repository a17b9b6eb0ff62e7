"""Put a running service under load: latency of one client, then many at once with one bad upload in ten.

Usage: python benchmarks/load_service.py FOLDER_OF_PHOTOGRAPHS [--address http://127.0.0.1:8000] [--clients 64]
                                         [--seconds 600]

Start `hangtag serve --model FOLDER` before, with nothing else to do for the machine. Bad uploads are truncated,
decompression bombs, text, empty, or of a wrong type, and are to be refused with their own status; anything else
is counted as an unintended error. Memory is what the service's own /metrics say, of all of its processes.
"""

import argparse
import asyncio
import random
import re
import statistics
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import httpx2

WARM_UP = 30
BAD_SHARE = 0.1
Upload = tuple[bytes, str, int]


def main() -> None:
    """Print latencies, statuses and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600)
    arguments = parser.parse_args()
    good = [path.read_bytes() for path in sorted(arguments.photographs.glob("*.jpg"))[:500]]
    asyncio.run(_run(arguments, good))


async def _run(arguments: argparse.Namespace, good: list[bytes]) -> None:
    async with httpx2.AsyncClient(base_url=arguments.address, timeout=60) as client:
        await _ask_alone(client, good, 200)
        alone = await _ask_alone(client, good, 2000)
        print(f"one client: p50 {_percentile(alone, 50):.1f} ms, p99 {_percentile(alone, 99):.1f} ms", flush=True)
        statuses: Counter[str] = Counter()
        times: list[float] = []
        ends = time.perf_counter() + arguments.seconds
        memory = asyncio.create_task(_watch_memory(client, ends))
        await asyncio.gather(*(_ask_on(client, good, ends, n, statuses, times) for n in range(arguments.clients)))
        before, after = await memory
    rate = len(times) / arguments.seconds
    print(f"{arguments.clients} clients, {arguments.seconds:.0f} s: {len(times):,} requests, {rate:.0f} a second")
    print(f"p50 {_percentile(times, 50):.1f} ms, p99 {_percentile(times, 99):.1f} ms")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(statuses.items())))
    print(f"unintended errors: {sum(count for name, count in statuses.items() if name.startswith('unintended')):,}")
    print(f"memory: {before / 1e6:.0f} MB after {WARM_UP} s, {after / 1e6:.0f} MB at the end")


async def _ask_alone(client: httpx2.AsyncClient, good: list[bytes], count: int) -> list[float]:
    times = []
    for number in range(count):
        started = time.perf_counter()
        response = await client.post(
            "/v1/classify", content=good[number % len(good)], headers={"Content-Type": "image/jpeg"}
        )
        response.raise_for_status()
        times.append((time.perf_counter() - started) * 1000)
    return times


async def _ask_on(
    client: httpx2.AsyncClient, good: list[bytes], ends: float, seed: int, statuses: Counter[str], times: list[float]
) -> None:
    choice = random.Random(seed)
    bad = _make_bad(good[0])
    while time.perf_counter() < ends:
        content, kind, wanted = choice.choice(good), "image/jpeg", 200
        if choice.random() < BAD_SHARE:
            content, kind, wanted = choice.choice(bad)
        started = time.perf_counter()
        try:
            response = await client.post("/v1/classify", content=content, headers={"Content-Type": kind})
            told = response.status_code
        except httpx2.HTTPError as error:
            statuses[f"unintended {type(error).__name__}"] += 1
            continue
        times.append((time.perf_counter() - started) * 1000)
        statuses[str(told) if told == wanted else f"unintended {told}"] += 1


def _make_bad(photograph: bytes) -> list[Upload]:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return [
        (photograph[: len(photograph) // 2], "image/jpeg", 422),
        (bomb, "image/png", 413),
        (b"no photograph at all", "image/jpeg", 415),
        (b"", "image/jpeg", 422),
        (photograph, "text/html", 415),
    ]


async def _watch_memory(client: httpx2.AsyncClient, ends: float) -> tuple[float, float]:
    await asyncio.sleep(min(WARM_UP, max(ends - time.perf_counter(), 0) / 2))
    before = await _read_memory(client)
    await asyncio.sleep(max(ends - time.perf_counter() - 1, 0))
    return before, await _read_memory(client)


async def _read_memory(client: httpx2.AsyncClient) -> float:
    metrics = (await client.get("/metrics")).text
    return sum(map(float, re.findall(r"^process_resident_memory_bytes(?:\{.*\})? (\S+)$", metrics, re.MULTILINE)))


def _percentile(times: list[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


if __name__ == "__main__":
    main()
