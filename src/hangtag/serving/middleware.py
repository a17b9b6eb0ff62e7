"""ASGI middleware: Host check, API key, request metrics, and responses to errors."""

import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import Collection, Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Outcome

# Which names a service may be asked under, and whom an address belongs to.

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ANY = "*"


class Hosts:
    """The names that a request's `Host` may have.

    A page can let its own name point to another machine and then ask that machine as if it were its own server. A
    browser sends the name along, so that only known names are answered: this machine's own, and every IP address,
    which no page can take for itself.

    Args:
        bound: The address that the service listens on.
        named: Further names; `*` allows all.
    """

    def __init__(self, bound: str, named: Collection[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", bound.lower(), own, f"{own}.local", *(name.lower() for name in named)}
        self._is_any = ANY in named

    def allows(self, host: str) -> bool:
        """Return whether a request with this `Host`, with or without a port, is for this service."""
        if self._is_any:
            return True
        name = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdecimal() else host
        name = name.strip("[]").lower()
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def name_client(address: str) -> str:
    """Return what stands for a client: its address, or of IPv6 the network of 64 bits, all of which one client has."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


# What the service answers where it cannot do what was asked: a status, a code, what is wrong and what to do.


class ProblemError(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        code: Stable, for programs.
        message: What is wrong and what to do, for people; never a path or a traceback.
        retry_after: Seconds after which to try again, where that helps.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def to_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


def answer_problem(problem: ProblemError) -> JSONResponse:
    """Return the response."""
    headers = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
    return JSONResponse(problem.to_json(), problem.status, headers)


# What is wrong with a photograph, and the status of a request for it alone; any other is 422.
PHOTOGRAPH_STATUS = {"not_an_image": 415, "too_many_pixels": 413, "too_many_bytes": 413, "stopping": 503}
SAVE_AGAIN = "Open the picture in any editor and save it again."
PHOTOGRAPH_HINTS = {
    "empty_file": "Send the content of a photograph.",
    "not_an_image": "Send a JPEG, PNG, WebP, GIF, BMP or TIFF picture.",
    "too_many_pixels": "Send a smaller picture; the model looks at few pixels anyway.",
    "truncated": "Send the whole file.",
    "too_many_scans": SAVE_AGAIN,
    "too_many_segments": SAVE_AGAIN,
    "too_slow": "Send a smaller picture, or save it as JPEG.",
    "stopping": "Try again soon.",
}


def refuse_photograph(code: str, reason: str) -> ProblemError:
    """Describe why a photograph was not classified."""
    hint = PHOTOGRAPH_HINTS.get(code, "Send another photograph.")
    return ProblemError(PHOTOGRAPH_STATUS.get(code, 422), code, f"{reason[:1].upper()}{reason[1:]}. {hint}")


# What the service counts and times, for Prometheus.

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one service; each has its own, so that tests and processes do not share them."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("hangtag_requests", "Requests answered.", ["path", "status"], registry=self._registry)
        self._seconds = Histogram(
            "hangtag_request_seconds", "Seconds from a request to its answer.", buckets=SECONDS, registry=self._registry
        )
        self._photographs = Counter(
            "hangtag_photographs", "Photographs by what became of them.", ["outcome"], registry=self._registry
        )
        self._waiting = Gauge("hangtag_waiting", "Photographs that wait or are in work.", registry=self._registry)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request; paths that do not exist share one line."""
        self._requests.labels(getattr(scope.get("route"), "path", "other"), str(status)).inc()
        if scope["path"] == "/v1/classify":
            self._seconds.observe(seconds)

    def note_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Count photographs by outcome."""
        for outcome in outcomes:
            is_sure = "sure" if isinstance(outcome, Prediction) and outcome.is_sure else "not_sure"
            self._photographs.labels(is_sure if isinstance(outcome, Prediction) else outcome.code).inc()

    def render(self, waiting: int) -> bytes:
        """Return everything in Prometheus's text format."""
        self._waiting.set(waiting)
        return generate_latest(self._registry)


# What every request to the review has to pass: it comes from the page that the review gave, and no other.

REVIEW_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """A layer around the review.

    Other pages in the same browser can send requests here. They cannot read the page, so they do not know the token
    that all of its requests bring along; and a name that an attacker lets point to this machine is no allowed host.

    Args:
        app: The review.
        host: The address that it listens on.
        token: What requests below `/api` have to bring along, as `X-Review-Token` or as `?token=`; where the
            service listens on more than this machine, the page itself too.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str) -> None:
        self._app, self._token, self._is_local = app, token, host in LOOPBACK
        self._hosts = Hosts(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(REVIEW_HEADERS)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, watched)
        except ProblemError as problem:
            await answer_problem(problem)(scope, receive, watched)
        except Exception:
            # A bug: its traceback is for the log, not for the page.
            logging.getLogger("uvicorn.error").exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            failed = ProblemError(500, "internal", "The review failed; the terminal it was started in says why.")
            await answer_problem(failed)(scope, receive, watched)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not self._hosts.allows(headers.get("host", "")):
            raise ProblemError(421, "wrong_host", "Open the review at the address that it printed.")
        path = scope["path"]
        if path.startswith("/static/") or (self._is_local and not path.startswith("/api/")):
            return
        given = headers.get("x-review-token") or QueryParams(scope["query_string"]).get("token", "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            message = "Open the page again at the address that the review printed: it was started anew, or asks for it."
            raise ProblemError(403, "no_token", message)


SERVE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


# What is noted of a request whose client has gone; nothing is sent.
GONE = 499
# Asked by those who look after the service, under any name; nothing is in it that others may not know.
HEALTH = ("/healthz", "/readyz")


class Watch:
    """A layer around the service: plain ASGI, for Starlette's own class costs a task and two queues a request.

    Args:
        app: The service.
        metrics: Where requests are counted.
        api_key: What requests have to bring along; None: nothing.
        open_paths: Paths that need no key.
        hosts: The names that the service may be asked under.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, api_key: str | None, open_paths: Collection[str], hosts: Hosts
    ) -> None:
        self._hosts = hosts
        self._app, self._metrics, self._api_key, self._open_paths = app, metrics, api_key, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, is_whole = time.perf_counter(), 0, not _has_body(scope)

        async def watched_receive() -> Message:
            nonlocal is_whole
            message = await receive()
            is_whole = is_whole or not message.get("more_body", False)
            return message

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(SERVE_HEADERS)
                if not is_whole:
                    # Nobody reads the rest of the upload, so that no other request can follow it.
                    headers["Connection"] = "close"
            await send(message)

        try:
            self._check_host(scope)
            self._check_key(scope)
            await self._app(scope, watched_receive, watched)
        except ProblemError as problem:
            await answer_problem(problem)(scope, receive, watched)
        except ClientDisconnect:
            status = GONE
            logging.getLogger("uvicorn.error").info("%s %s: the client broke off", scope["method"], scope["path"])
        except Exception:
            # A bug: its traceback is for the log, not for the client.
            logging.getLogger("uvicorn.error").exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise
            failed = ProblemError(500, "internal", "The service failed; its log says why.")
            await answer_problem(failed)(scope, receive, watched)
        self._metrics.note(scope, status, time.perf_counter() - started)

    def _check_host(self, scope: Scope) -> None:
        host = Headers(scope=scope).get("host", "")
        if scope["path"] not in HEALTH and not self._hosts.allows(host):
            message = "The service does not know itself by this name. Start it with --allowed-hosts and the name."
            raise ProblemError(421, "wrong_host", message)

    def _check_key(self, scope: Scope) -> None:
        if self._api_key is None or scope["path"] in self._open_paths:
            return
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not secrets.compare_digest(given.encode(), self._api_key.encode()):
            raise ProblemError(401, "no_key", "Send the service's key as `Authorization: Bearer KEY`.")


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
