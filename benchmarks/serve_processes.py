"""Compare the throughput of `hangtag serve` with one process and with several, and count errors while some restart.

Usage: python benchmarks/serve_processes.py [FOLDER_OF_PHOTOGRAPHS] [--processes 2] [--clients 16] [--rounds 5]
                                            [--seconds 10] [--model FOLDER]

Starts both services itself, on free ports of this machine, and asks them in turns, so that a change of the machine's
speed meets both. The clients run in this process and need processor time too; it is printed, as is that of a request in
the service. Without a folder, photographs are drawn.

Then, under the same load, one process gets SIGTERM (it answers what it has accepted, and is replaced), the service gets
SIGHUP (all processes are replaced, one by one), and one process is killed with SIGKILL. What a killed process was about
to answer is lost; these requests are counted apart, as long as the same request succeeds at once on a new connection.
All other failures are unintended errors.
"""

import argparse
import asyncio
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hangtag.catalog.images import PhotographError, decode_photograph
from hangtag.demo_catalog.catalog import write_demo_catalog

PID = re.compile(r'^process_start_time_seconds\{pid="(\d+)"\}', re.MULTILINE)
ANSWERED = re.compile(r'^hangtag_requests_total\{path="/v1/classify",status="200"\} (\S+)$', re.MULTILINE)
PROCESSOR = re.compile(r"^process_cpu_seconds_total(?:\{.*\})? (\S+)$", re.MULTILINE)
START_SECONDS = 120
# Seconds from an event under load until the next one.
EVENT_SECONDS = 15


@dataclass
class Service:
    """A service that runs: its process and its port."""

    process: "subprocess.Popen[bytes]"
    port: int

    def read(self, path: str) -> str:
        """Return the body of a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
            return str(response.read().decode())

    def read_processor_seconds(self) -> float:
        """Return the seconds of processors that its processes have used."""
        return sum(map(float, PROCESSOR.findall(self.read("/metrics"))))

    def list_workers(self) -> set[int]:
        """Return the processes that serve; none for a service of one process."""
        return set(map(int, PID.findall(self.read("/metrics"))))


@dataclass
class Load:
    """What clients have seen: answers by status, seconds of each answer, lost requests and other failures."""

    times: list[float] = field(default_factory=list)
    lost: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    may_lose: bool = False


@contextmanager
def start(processes: int, model: Path | None) -> Iterator[Service]:
    """Start a service, wait until all of its processes serve, and stop it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hangtag", "serve", "--port", str(port), "--processes", str(processes)]
    process = subprocess.Popen([*command, *(["--model", str(model)] if model else [])], stderr=subprocess.DEVNULL)
    service = Service(process, port)
    try:
        wait_for_workers(service, processes, set())
        yield service
    finally:
        process.terminate()
        code = process.wait(60)
        if code:
            print(f"the service has ended with exit code {code}")


def wait_for_workers(service: Service, count: int, old: set[int]) -> None:
    """Wait until so many processes serve, none of them an old one."""
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        try:
            if f"\nhangtag_processes {count}.0\n" in service.read("/metrics") and not service.list_workers() & old:
                return
        except OSError:
            pass
        if service.process.poll() is not None:
            sys.exit("the service has ended")
        time.sleep(0.1)
    sys.exit("the service does not start")


async def ask(port: int, requests: list[bytes], number: int, ends: float, load: Load) -> None:
    """Be a client: send a request after the other on one connection, and connect again where it is closed."""
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    is_again = False
    while time.perf_counter() < ends:
        started = time.perf_counter()
        try:
            connection = connection or await asyncio.open_connection("127.0.0.1", port)
            connection[1].write(requests[number % len(requests)])
            head = await connection[0].readuntil(b"\r\n\r\n")
            [length] = re.findall(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
            await connection[0].readexactly(int(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            if load.may_lose and not is_again:
                load.lost += 1
            else:
                load.wrong[type(error).__name__] += 1
            if connection:
                connection[1].close()
            connection, is_again = None, True
            continue
        load.times.append(time.perf_counter() - started)
        if (status := head.split(maxsplit=2)[1].decode()) != "200":
            load.wrong[status] += 1
        if re.search(rb"(?i)^connection: close", head, re.MULTILINE):
            connection[1].close()
            connection = None
        number, is_again = number + 1, False
    if connection:
        connection[1].close()


async def ask_all(service: Service, requests: list[bytes], clients: int, seconds: float, load: Load) -> None:
    """Be all clients."""
    ends = time.perf_counter() + seconds
    await asyncio.gather(*(ask(service.port, requests, 37 * number, ends, load) for number in range(clients)))


def compare(services: dict[int, Service], requests: list[bytes], arguments: argparse.Namespace) -> None:
    """Print the throughput of both services, asked in turns."""
    rates: dict[int, list[float]] = {count: [] for count in services}
    times: dict[int, list[float]] = {count: [] for count in services}
    used = dict.fromkeys(services, 0.0)
    shares: list[float] = []
    for turn in range(arguments.rounds + 1):
        for count in sorted(services, reverse=turn % 2 == 1):
            load, before, used_before = Load(), time.process_time(), services[count].read_processor_seconds()
            # The first round warms up, and is short.
            seconds = arguments.seconds if turn else min(arguments.seconds, 3)
            asyncio.run(ask_all(services[count], requests, arguments.clients, seconds, load))
            if load.wrong:
                print(f"errors with {count} processes: {dict(load.wrong)}")
            if turn:
                rates[count].append(len(load.times) / seconds)
                times[count] += load.times
                used[count] += services[count].read_processor_seconds() - used_before
                shares.append((time.process_time() - before) / seconds)
    for count, found in rates.items():
        p50, p99 = (1000 * statistics.quantiles(times[count], n=100)[percent - 1] for percent in (50, 99))
        turns = ", ".join(f"{rate:.0f}" for rate in found)
        name = "1 process: " if count == 1 else f"{count} processes:"
        median = statistics.median(found)
        cost = 1000 * used[count] / len(times[count])
        print(f"{name} {median:.0f} requests a second (turns: {turns}), p50 {p50:.1f} ms, p99 {p99:.1f} ms, ", end="")
        print(f"{cost:.1f} ms of a processor for each")
    one, several = (statistics.median(rates[count]) for count in sorted(rates))
    print(f"ratio {several / one:.2f}; the clients used {100 * statistics.mean(shares):.0f} % of a processor")


async def restart(service: Service, requests: list[bytes], arguments: argparse.Namespace) -> None:
    """Print the errors while processes are restarted under load."""
    total, count = Load(), arguments.processes

    async def run_event(name: str, number: signal.Signals, whole: bool) -> None:
        load = Load(may_lose=number == signal.SIGKILL)
        workers = await asyncio.to_thread(service.list_workers)
        asking = asyncio.create_task(ask_all(service, requests, arguments.clients, EVENT_SECONDS, load))
        await asyncio.sleep(EVENT_SECONDS / 5)
        victim = service.process.pid if whole else min(workers)
        os.kill(victim, number)
        await asyncio.to_thread(wait_for_workers, service, count, workers if whole else {victim})
        await asking
        total.times += load.times
        total.lost += load.lost
        total.wrong += load.wrong
        lost = f", {load.lost} requests lost with the process and answered when sent again" if load.may_lose else ""
        print(f"{name}: {len(load.times):,} answers, unintended errors {sum(load.wrong.values())}{lost}", flush=True)
        if load.wrong:
            print(f"  {dict(load.wrong)}")

    await run_event("SIGTERM to one process", signal.SIGTERM, whole=False)
    await run_event("SIGHUP to the service", signal.SIGHUP, whole=True)
    await run_event("SIGKILL to one process", signal.SIGKILL, whole=False)
    counted = float(ANSWERED.findall(await asyncio.to_thread(service.read, "/metrics"))[0])
    print(f"answers that the clients have got {len(total.times):,}, that /metrics count {counted:,.0f}")


def make_request(photograph: bytes) -> bytes:
    """Return a request as it is sent."""
    head = "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
    return head.format(len(photograph)).encode() + photograph


def is_good(photograph: bytes) -> bool:
    """Return whether a photograph can be classified; a catalogue may have some that cannot."""
    try:
        decode_photograph(photograph, (80, 60), max_pixels=40_000_000)
    except PhotographError:
        return False
    return True


def main() -> None:
    """Start the services, and print what is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, nargs="?")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.photographs
        if folder is None:
            folder = Path(scratch)
            write_demo_catalog(folder, items_per_kind=15)
        photographs = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))[:500]]
    requests = [make_request(content) for content in photographs if is_good(content)]
    print(f"{len(requests)} photographs, {arguments.clients} clients, {os.cpu_count()} processors", flush=True)
    with start(1, arguments.model) as one, start(arguments.processes, arguments.model) as several:
        compare({1: one, arguments.processes: several}, requests, arguments)
    with start(arguments.processes, arguments.model) as service:
        asyncio.run(restart(service, requests, arguments))


if __name__ == "__main__":
    main()
