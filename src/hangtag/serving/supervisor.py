"""Serve one port with several processes: start them, replace those that end or hang, and stop them all.

This is uvicorn's supervisor, with workers that load a model, and with these differences: it never waits for a worker,
so that it acts on a signal at once; a worker that cannot start is not started again without end; and workers drain.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess, Process

from hangtag.config import ServeConfig
from hangtag.errors import describe_mistake
from hangtag.inference.classifier import Classifier
from hangtag.processors import count_processors
from hangtag.serving.metrics import Metrics, forget_process, join_processes
from hangtag.serving.server import BACKLOG, STOPPED_SECONDS, Server, make_server

# What the supervisor sends to a worker; it answers whether it is ready, or before it ends with what is wrong.
PING, DRAIN = "ping", "drain"
# Seconds in which a worker has to load its model.
START_SECONDS = 300.0
# A worker is replaced if it has not answered in so many checks, of which there are two a second. Checks are counted,
# not seconds, since a suspended service makes none.
HUNG_CHECKS = 60
# Seconds until a worker that should have stopped is killed; later than its own watchdog.
KILL_SECONDS = STOPPED_SECONDS + 5
# Seconds until a worker that could not start is started again while others serve, at first and at most.
FIRST_DELAY, LAST_DELAY = 1.0, 60.0
logger = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Service:
    """What each worker serves.

    Attributes:
        model: The folder of an exported model; None for the one that hangtag comes with.
        config: The settings of the service.
        api_key: The key that requests must send; None for no key.
        folder: The folder of the shared metrics, empty at first.
    """

    model: str | Path | None
    config: ServeConfig
    api_key: str | None
    folder: Path


class Worker(Process):
    """A process that serves, and its state as the supervisor knows it.

    Args:
        config: Uvicorn's settings of the supervisor.
        sockets: The socket that all workers accept connections from.
        service: What to serve.
        number: The number of the process among those that run.

    Attributes:
        has_started: Whether it has been ready to serve.
        failure: Why it could not start, for people; empty if it has not said why.
        stops_by: When it is killed, as it has been told to stop; None before.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], service: Service, number: int) -> None:
        self.number, self.has_started, self.failure = number, False, ""
        self.stops_by: float | None = None
        self._service = service
        self._starts_by = time.monotonic() + START_SECONDS
        self._unanswered = 0
        super().__init__(config, sockets)

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the model and serve, in the process itself."""
        if hasattr(signal, "SIGHUP"):
            # It is for the supervisor; a terminal that closes sends it to all processes.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Only the supervisor has the other end, so that this one is closed when the supervisor has ended.
        self.parent_conn.close()
        threading.Thread(target=self.always_pong, daemon=True).start()
        try:
            server = self._make_server()
            server.run(sockets)
        except Exception as error:
            message = describe_mistake(error)
            if message is None:
                raise
            self.child_conn.send(message)
            sys.exit(STARTUP_FAILURE)

    def _make_server(self) -> Server:
        service, config = self._service, self._service.config
        join_processes(service.folder, self.number)
        processors = count_processors()
        streams, threads = config.share(config.workers or processors), config.share(processors)
        classifier = Classifier.load(service.model, streams=streams, threads=threads)
        server = make_server(classifier, config, api_key=service.api_key, metrics=Metrics(service.folder))
        self._server = server
        return server

    def always_pong(self) -> None:
        """Answer the supervisor, in the process itself; stop the process once the supervisor has ended."""
        try:
            while True:
                self.pong()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)

    def pong(self) -> None:
        """Answer one message."""
        message = self.child_conn.recv()
        server = cast("Server | None", self._server)
        if message == DRAIN and server is not None:
            server.start_draining()
        self.child_conn.send(server is not None and server.started)

    def check(self) -> bool:
        """Read the answers of the process and ask again; return whether it hangs."""
        if self.stops_by is not None:
            return time.monotonic() > self.stops_by
        self._unanswered += 1
        try:
            while self.parent_conn.poll():
                answer = self.parent_conn.recv()
                self._unanswered = 0
                self.failure = answer if isinstance(answer, str) else self.failure
                if answer is True and not self.has_started:
                    self.has_started = True
                    logger.info("Child process [%s] serves", self.pid)
            if self._unanswered <= 1:
                self.parent_conn.send(PING)
        except (EOFError, OSError):
            # It has ended.
            return False
        return self._unanswered > HUNG_CHECKS if self.has_started else time.monotonic() > self._starts_by

    def start_draining(self) -> None:
        """Let the process be not ready any more."""
        with suppress(OSError):
            self.parent_conn.send(DRAIN)

    def terminate(self) -> None:
        """Let the process answer open requests, and end."""
        self.stops_by = time.monotonic() + KILL_SECONDS
        super().terminate()


class Supervisor(Multiprocess):
    """Starts the workers of a service, and replaces them until a signal comes.

    SIGTERM lets all workers drain and end. SIGHUP replaces them one by one, by workers that load the model again.

    Args:
        service: What to serve.

    Attributes:
        failure: Why no worker could be started; empty if one could.
        is_interrupted: Whether Ctrl-C has stopped the service.

    Raises:
        OSError: It cannot listen on the address.
        SystemExit: The same; uvicorn has written the reason to stderr.
    """

    def __init__(self, service: Service) -> None:
        self.failure, self.is_interrupted = "", False
        self._service = service
        self._workers: list[Worker] = []
        # The workers to replace, as SIGHUP has asked for.
        self._outdated: list[Worker] = []
        self._retry_delay, self._retry_at = FIRST_DELAY, 0.0
        self._drained_at: float | None = None
        served = service.config
        config = uvicorn.Config("", host=served.host, port=served.port, workers=served.processes)
        listener = config.bind_socket()
        # Connections wait for the first worker. Without this, another program could still listen on the port.
        listener.listen(BACKLOG)
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        super().__init__(config, [listener])

    def run(self) -> None:
        """Serve until a signal comes, or no worker can be started."""
        try:
            super().run()
        finally:
            for worker in self._workers:
                if worker.process.is_alive():
                    # A bug: Python would wait for them at exit.
                    worker.kill()
            for number, handler in self._handlers.items():
                if handler is not None:
                    signal.signal(number, handler)

    def init_processes(self) -> None:
        """Start the workers."""
        for _ in range(self._service.config.processes):
            self._start()

    def keep_subprocess_alive(self) -> None:
        """Check every worker, twice a second, and replace those that have ended or hang."""
        for worker in list(self._workers):
            if worker.check():
                logger.error("Child process [%s] hangs; it is killed", worker.pid)
                worker.kill()
                worker.process.join()
            if not worker.process.is_alive():
                worker.check()
                self._remove(worker)
        if self._drained_at is not None and time.monotonic() >= self._drained_at:
            self.should_exit.set()
        if self._drained_at is None and not self.should_exit.is_set():
            self._replace()

    def _start(self) -> None:
        number = min(set(range(len(self._workers) + 1)) - {worker.number for worker in self._workers})
        worker = Worker(self.config, self.sockets, self._service, number)
        worker.start()
        self._workers.append(worker)

    def _remove(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        self._workers.remove(worker)
        forget_process(self._service.folder, worker.number)
        if worker.stops_by is not None:
            return
        if worker.has_started:
            logger.warning("Child process [%s] died (exit code %s)", worker.pid, worker.exitcode)
            return
        reason = worker.failure or f"A process of the service ended while it started, with exit code {worker.exitcode}."
        if not any(each.has_started for each in self._workers):
            self.failure = reason
            self.should_exit.set()
            return
        logger.error("Child process [%s] failed to start; the others go on. %s", worker.pid, reason)
        # A restart is given up: the earlier workers stay.
        self._outdated = []
        self._retry_at = time.monotonic() + self._retry_delay
        self._retry_delay = min(2 * self._retry_delay, LAST_DELAY)

    def _replace(self) -> None:
        """Start a worker that is missing. In a restart, start one more, and end an old one once that is ready."""
        serving = [worker for worker in self._workers if worker.stops_by is None]
        if not all(worker.has_started for worker in serving) or time.monotonic() < self._retry_at:
            return
        outdated = [worker for worker in serving if worker in self._outdated]
        missing = self._service.config.processes - len(serving)
        if missing > 0 or (missing == 0 and outdated and len(serving) == len(self._workers)):
            self._start()
        elif missing < 0 and outdated:
            outdated[0].terminate()
        else:
            self._retry_delay = FIRST_DELAY

    def handle_hup(self) -> None:
        """Replace every worker, one after the other."""
        logger.info("Received SIGHUP, restarting processes.")
        self._outdated = list(self._workers)

    def handle_int(self) -> None:
        """Stop."""
        self.is_interrupted = True
        super().handle_int()

    def handle_term(self) -> None:
        """Drain, then stop; a second signal ends the drain seconds."""
        seconds = self._service.config.drain_seconds
        if seconds and self._drained_at is None:
            logger.info("Received SIGTERM, draining for %g seconds.", seconds)
            for worker in self._workers:
                worker.start_draining()
            self._drained_at = time.monotonic() + seconds
        else:
            super().handle_term()

    def handle_ttin(self) -> None:
        """Do nothing: the number of processes is fixed, since limits are divided among them."""

    def handle_ttou(self) -> None:
        """Do nothing; see `handle_ttin`."""

    def terminate_all(self) -> None:
        """Let all workers answer open requests and end."""
        # Once the workers have closed it too, new connections are refused.
        for each in self.sockets:
            each.close()
        for worker in self._workers:
            if worker.stops_by is None:
                worker.terminate()

    def join_all(self) -> None:
        """Wait until all workers have ended; kill those that do not."""
        for worker in self._workers:
            worker.process.join(max((worker.stops_by or 0.0) - time.monotonic(), 0.0))
            if worker.process.is_alive():
                logger.error("Child process [%s] does not stop; it is killed", worker.pid)
                worker.kill()
                worker.process.join()
