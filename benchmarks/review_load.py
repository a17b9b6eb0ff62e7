"""Review with many people at once on PostgreSQL, while processes are killed and the database restarts.

Usage: python benchmarks/review_load.py [--minutes 5] [--clients 20] [--services 4] [--pause 1.0] [--restart immediate]

Draws a catalogue, starts a temporary server of PostgreSQL whose commits wait for the disk, and `hangtag review`
processes on it. Each client asks for an issue, thinks, and decides or undoes; a third of the issues are ones that all
clients decide about, so that they get in each other's way. A service is killed twice and started again, and the
database is restarted once in between. A client whose service does not answer goes to the next, as behind a proxy.

Prints latencies with and without the restart, and fails unless every acknowledged decision is stored once, whatever
was refused is not, and every decision was about the last one before it. Needs `hangtag[audit,postgres]` and the
server's programs (Debian: postgresql).
"""

import argparse
import http.client
import json
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fixtures"))
from issue_queue import make_line, write_issues
from postgres_server import PostgresServer, find_port

from hangtag.demo_catalog.catalog import write_demo_catalog
from hangtag.reviewing.decision_store import read_decisions, use_postgres
from hangtag.reviewing.items import read_items
from hangtag.reviewing.store import Decision
from hangtag.stages.prepare import prepare
from hangtag.workspace import Workspace

# The positions that all clients decide about.
CONTESTED = 12
# A restart counts as over so many seconds after the database answers again.
SETTLE_SECONDS = 2.0
TIMEOUT = 30.0
Key = tuple[str, str, str, str, int]


@dataclass
class Answers:
    """What the clients were told: latencies with their start, and attempts by the reviewer, issue and version."""

    times: list[tuple[float, float, str]] = field(default_factory=list)
    stored: Counter[Key] = field(default_factory=Counter)
    unknown: Counter[Key] = field(default_factory=Counter)
    undone: Counter[str] = field(default_factory=Counter)
    unknown_undos: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)


class Service:
    """A process of `hangtag review`."""

    def __init__(self, workspace: Path, port: int, environment: dict[str, str]) -> None:
        self.port = port
        self._command = [sys.executable, "-m", "hangtag", "review", "-w", str(workspace), "--port", str(port)]
        self._environment = environment
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process, or start it again."""
        self.process = subprocess.Popen(self._command, env=self._environment, stderr=subprocess.DEVNULL)
        return self.process

    def read_token(self) -> str:
        """Return the token of the page, once the service answers."""
        for _ in range(600):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
                connection.request("GET", "/")
                page = connection.getresponse().read().decode()
                return str(re.findall(r'name="review-token" content="([^"]+)"', page)[0])
            except OSError:
                time.sleep(0.1)
        raise AssertionError("a service does not start")

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


class Client(threading.Thread):
    """A reviewer, who stays with one service as long as it answers."""

    def __init__(self, number: int, ports: Sequence[int], token: str, pause: float, ends: float) -> None:
        super().__init__(daemon=True)
        self.reviewer, self._ports, self._token, self._pause, self._ends = f"client-{number}", ports, token, pause, ends
        self._random, self._turn = random.Random(number), number
        self._connection: http.client.HTTPConnection | None = None
        self.answers = Answers()

    def run(self) -> None:
        """Decide until the time is over."""
        while time.perf_counter() < self._ends:
            if self._random.random() < 0.1:
                self._undo()
            elif issue := self._choose():
                time.sleep(self._pause * self._random.uniform(0.2, 1.8))
                self._decide(issue)

    def _choose(self) -> Any:
        if self._random.random() < 0.35:
            path = f"/api/issues/{self._random.randrange(CONTESTED)}"
        else:
            path = f"/api/next?{urlencode({'reviewer': self.reviewer, 'order': 'random'})}"
        status, answer = self._ask("GET", path, None, path.partition("?")[0].split("/")[2])
        return answer.get("issue") if status == 200 else None

    def _decide(self, issue: Any) -> None:
        action = self._random.choice(["accept", "keep", "skip"])
        body = {"position": issue["position"], "action": action, "versions": issue["versions"]}
        status, answer = self._ask("POST", "/api/decisions", body | {"reviewer": self.reviewer}, "decisions")
        item_id = issue["item"]["item_id"]
        key = (self.reviewer, item_id, issue["code"], issue["column"], issue["versions"][item_id])
        if status == 200:
            self.answers.stored[key] += 1
        elif status == 0 or answer.get("error", {}).get("code") == "unknown":
            self.answers.unknown[key] += 1

    def _undo(self) -> None:
        status, answer = self._ask("POST", "/api/undo", {"reviewer": self.reviewer}, "undo")
        if status == 200:
            self.answers.undone[self.reviewer] += len(answer["made"])
        elif status == 0 or answer.get("error", {}).get("code") == "unknown":
            self.answers.unknown_undos[self.reviewer] += 1

    def _ask(self, method: str, path: str, body: Any, kind: str) -> tuple[int, Any]:
        """Return the status and the answer; the status is 0 if the connection was lost."""
        headers = {"X-Review-Token": self._token, "Content-Type": "application/json"}
        started = time.perf_counter()
        try:
            if self._connection is None:
                port = self._ports[self._turn % len(self._ports)]
                self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
                self._connection.connect()
            self._connection.request(method, path, json.dumps(body) if body else None, headers)
            response = self._connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            self._connection, self._turn = None, self._turn + 1
            self.answers.statuses[f"{kind} lost"] += 1
            time.sleep(0.1)
            return 0, {}
        self.answers.times.append((started, time.perf_counter(), kind))
        self.answers.statuses[f"{kind} {status}"] += 1
        return status, answer


def main() -> None:
    """Print latencies and what was found in the database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--services", type=int, default=4)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds that a client thinks, in the mean")
    parser.add_argument("--restart", choices=["immediate", "fast"], default="immediate")
    parser.add_argument("--items-per-kind", type=int, default=60)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workspace = _make_workspace(folder, arguments.items_per_kind)
        server = stack.enter_context(closing(PostgresServer(is_durable=True)))
        os.environ["PGPASSWORD"] = server.password
        use_postgres(workspace, server.address)
        environment = os.environ | {"HANGTAG_REVIEW_TOKEN": secrets.token_hex(16)}
        services = [
            stack.enter_context(closing(Service(workspace.root, find_port(), environment)))
            for _ in range(arguments.services)
        ]
        [token] = {service.read_token() for service in services}
        clients, restart = _attack(arguments, services, token, server)
        _print_times([client.answers for client in clients], restart)
        faults = _find_faults([client.answers for client in clients], read_decisions(workspace))
    print("\n".join(faults) or "no fault", flush=True)
    sys.exit(bool(faults))


def _attack(
    arguments: argparse.Namespace, services: list[Service], token: str, server: PostgresServer
) -> tuple[list[Client], tuple[float, float]]:
    """Run the clients, kill two services and restart the database; return when the restart began and was over."""
    seconds = arguments.minutes * 60
    started = time.perf_counter()
    ports = [service.port for service in services]
    clients = [Client(number, ports, token, arguments.pause, started + seconds) for number in range(arguments.clients)]
    for client in clients:
        client.start()
    _sleep_until(started + 0.25 * seconds)
    _kill(services[0])
    _sleep_until(started + 0.5 * seconds)
    restart_began = time.perf_counter()
    server.stop(arguments.restart)
    server.start()
    restart_over = time.perf_counter()
    _sleep_until(started + 0.75 * seconds)
    _kill(services[1 % len(services)])
    for client in clients:
        client.join(seconds + 120)
    assert not any(client.is_alive() for client in clients), "a client waits forever"
    return clients, (restart_began, restart_over + SETTLE_SECONDS)


def _kill(service: Service) -> None:
    service.close()
    time.sleep(1)
    service.start()


def _print_times(answers: Sequence[Answers], restart: tuple[float, float]) -> None:
    times = [each for answer in answers for each in answer.times]
    outside = [each for each in times if each[1] < restart[0] or each[0] > restart[1]]
    within = [each for each in times if each[1] >= restart[0] and each[0] <= restart[1]]
    first, last = min(each[0] for each in times), max(each[1] for each in times)
    print(f"{len(times):,} requests, {len(times) / (last - first):.0f} a second")
    for kind in sorted({kind for *_, kind in times}):
        _print_line(kind, [(ended - started) * 1000 for started, ended, its in outside if its == kind])
    _print_line("all, apart from the restart", [(ended - started) * 1000 for started, ended, _ in outside])
    slowest = max(((ended - started) for started, ended, _ in within), default=0.0)
    print(f"the restart took {restart[1] - restart[0] - SETTLE_SECONDS:.1f} s; the slowest answer {slowest:.1f} s")
    statuses = sum((answer.statuses for answer in answers), Counter())
    print(", ".join(f"{name} {count:,}" for name, count in sorted(statuses.items())))


def _print_line(name: str, times: Sequence[float]) -> None:
    if len(times) > 1:
        cuts = statistics.quantiles(times, n=100)
        print(f"{name}: {len(times):,}, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, worst {max(times):.0f} ms")


def _find_faults(answers: Sequence[Answers], decisions: Sequence[Decision]) -> list[str]:
    """Return what is wrong with the stored decisions."""
    stored = sum((each.stored for each in answers), Counter())
    unknown = sum((each.unknown for each in answers), Counter())
    print(
        f"{len(decisions):,} decisions stored; {sum(stored.values()):,} acknowledged, {sum(unknown.values())} unknown"
    )
    faults = [] if [each.id for each in decisions] == list(range(1, len(decisions) + 1)) else ["ids have gaps"]
    # A decision also settles other issues of its item; each of them is stored under the same version.
    made = [each for each in decisions if each.action != "undo"]
    found = Counter((each.reviewer, *each.identity, each.version) for each in made)
    faults += [f"acknowledged and not stored: {key}" for key in stored if not found[key]]
    faults += [f"stored twice: {key}" for key, count in found.items() if count > 1]
    known = {key[:2] + key[4:] for key in [*stored, *unknown]}
    faults += [f"stored though refused: {key}" for key in found if key[:2] + key[4:] not in known]
    undone = Counter(each.reviewer for each in decisions if each.action == "undo")
    for reviewer in undone | sum((each.undone for each in answers), Counter()):
        told = sum(each.undone[reviewer] for each in answers)
        may = any(each.unknown_undos[reviewer] for each in answers)
        if undone[reviewer] < told or (undone[reviewer] > told and not may):
            faults.append(f"{reviewer} undid {told}, stored are {undone[reviewer]}")
    return faults + _find_lost_updates(decisions)


def _find_lost_updates(decisions: Sequence[Decision]) -> list[str]:
    """Return the decisions that were not about the last decision of their item."""
    faults: list[str] = []
    by_item: dict[str, list[Decision]] = defaultdict(list)
    for each in decisions:
        before = [earlier.id for earlier in by_item[each.item_id] if earlier.batch != each.batch]
        last = max(before, default=0)
        if each.action != "undo" and each.version != last:
            faults.append(f"decision {each.id} saw {each.version}, the last one was {last}")
        by_item[each.item_id].append(each)
    return faults


def _make_workspace(folder: Path, items_per_kind: int) -> Workspace:
    """Draw a catalogue and suspect every item of it."""
    prepare(write_demo_catalog(folder / "catalog", items_per_kind=items_per_kind), folder / "workspace")
    workspace = Workspace.at(folder / "workspace")
    items = read_items(workspace)
    kinds = sorted(set(items.columns["articleType"]))
    lines = []
    for number, item_id in enumerate(items.ids):
        given = items.read_values(item_id)["articleType"]
        suggested = kinds[(kinds.index(given) + 1) % len(kinds)]
        lines.append(make_line(item_id, given, suggested, 1 - number / len(items.ids)))
    write_issues(workspace, lines)
    return workspace


def _sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.perf_counter(), 0))


if __name__ == "__main__":
    main()
