"""ASGI middleware of `serve`, `review` and `app`: host check, API key or token, security headers, errors and metrics.

`Guard` is the middleware of all three; a `GuardPolicy` sets the requirements of each. Routes raise a
`ProblemError` to reject a request, and the client receives its status and JSON body.
"""

import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hangtag.inference.prediction import Prediction
from hangtag.inference.streaming import Outcome

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ANY_HOST = "*"
# Health checks are allowed under any host name, since they reveal nothing.
HEALTH_PATHS = ("/healthz", "/readyz")
# The status in the metrics for a request whose client disconnected before the response.
CLIENT_CLOSED_REQUEST = 499
# Upper bounds of the latency histogram, in seconds.
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SERVE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
REVIEW_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# The HTTP status for a single photograph that cannot be classified, by error code; 422 for all other codes.
PHOTOGRAPH_STATUS = {"not_an_image": 415, "too_many_pixels": 413, "too_many_bytes": 413, "stopping": 503}
SAVE_AGAIN = "Open the picture in any editor and save it again."
PHOTOGRAPH_HINTS = {
    "empty_file": "Send the content of a photograph.",
    "not_an_image": "Send a JPEG, PNG, WebP, GIF, BMP or TIFF picture.",
    "too_many_pixels": "Send a smaller picture; the model shrinks it anyway.",
    "truncated": "Send the whole file.",
    "too_many_scans": SAVE_AGAIN,
    "too_many_segments": SAVE_AGAIN,
    "too_slow": "Send a smaller picture, or save it as JPEG.",
    "stopping": "Try again soon.",
}


class Hosts:
    """The allowed values of the `Host` header, as a defence against DNS rebinding.

    In such an attack a web page points its own domain to this machine and then sends requests as if to its own
    server. The browser sends that domain as `Host`. Therefore only this machine's names are allowed, and all IP
    addresses, which no page can use as its domain.

    Args:
        bound: The address that the service listens on.
        named: Further allowed names; `*` allows all.
    """

    def __init__(self, bound: str, named: Collection[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", bound.lower(), own, f"{own}.local", *(name.lower() for name in named)}
        self._is_any = ANY_HOST in named

    def allows(self, host: str) -> bool:
        """Return whether a `Host` header, with or without a port, is allowed."""
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
    """Return the key of a client: its IPv4 address, or its /64 IPv6 network, which usually belongs to one client."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


class ProblemError(Exception):
    """Raised for a request that is rejected.

    Args:
        status: The HTTP status.
        code: A stable code for programs.
        message: The problem and its solution, for the user; never a path or a traceback.
        retry_after: Seconds after which to try again, if that helps.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return the response body."""
        return {"error": {"code": self.code, "message": self.message}}


def answer_problem(problem: ProblemError) -> JSONResponse:
    """Build the response for a rejected request."""
    headers = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
    return JSONResponse(problem.to_json(), problem.status, headers)


def refuse_photograph(code: str, reason: str) -> ProblemError:
    """Build the error for a photograph that could not be classified, with a hint for its error code."""
    hint = PHOTOGRAPH_HINTS.get(code, "Send another photograph.")
    return ProblemError(PHOTOGRAPH_STATUS.get(code, 422), code, f"{reason[:1].upper()}{reason[1:]}. {hint}")


class Metrics:
    """Prometheus counters and timings of one service, in a separate registry so that tests do not share them."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("hangtag_requests", "Requests answered.", ["path", "status"], registry=self._registry)
        self._seconds = Histogram(
            "hangtag_request_seconds",
            "Seconds from a request to its response.",
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._photographs = Counter(
            "hangtag_photographs", "Photographs by outcome.", ["outcome"], registry=self._registry
        )
        self._waiting = Gauge("hangtag_waiting", "Photographs waiting or in work.", registry=self._registry)

    def count_request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request. Unknown paths are counted together, so that clients cannot create any number of labels."""
        self._requests.labels(getattr(scope.get("route"), "path", "other"), str(status)).inc()
        if scope["path"] == "/v1/classify":
            self._seconds.observe(seconds)

    def count_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Count photographs by outcome: `sure`, `not_sure`, or an error code."""
        for outcome in outcomes:
            sureness = "sure" if isinstance(outcome, Prediction) and outcome.is_sure else "not_sure"
            self._photographs.labels(sureness if isinstance(outcome, Prediction) else outcome.code).inc()

    def render(self, waiting: int) -> bytes:
        """Return all metrics in Prometheus's text format.

        Args:
            waiting: The number of photographs that are waiting or being classified now.
        """
        self._waiting.set(waiting)
        return generate_latest(self._registry)


@dataclass(frozen=True)
class GuardPolicy:
    """The requirements of a service for its requests, and its error messages.

    Attributes:
        hosts: The allowed `Host` names.
        wrong_host: The message for any other name (status 421).
        require_secret: Raises a `ProblemError` if a request lacks the key or token.
        headers: Headers to set on every response.
        failure: The message of a 500 response.
        any_host_paths: Paths that are allowed under any host name.
        close_unread: Whether to close the connection if the response is sent before the whole request was read.
        answer: Builds the response for a request that is rejected.
    """

    hosts: Hosts
    wrong_host: str
    require_secret: Callable[[Scope], None]
    headers: Mapping[str, str]
    failure: str
    any_host_paths: Collection[str] = ()
    close_unread: bool = False
    answer: Callable[[ProblemError, Scope], Response] = lambda problem, _: answer_problem(problem)


def make_serve_policy(hosts: Hosts, api_key: str | None, open_paths: Collection[str]) -> GuardPolicy:
    """Build the policy of the classification service.

    Args:
        hosts: The allowed `Host` names.
        api_key: The key that requests must send; None for no key.
        open_paths: Paths that need no key.
    """

    def require_api_key(scope: Scope) -> None:
        if api_key is None or scope["path"] in open_paths:
            return
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not secrets.compare_digest(given.encode(), api_key.encode()):
            raise ProblemError(401, "no_key", "Send the service's key as `Authorization: Bearer KEY`.")

    return GuardPolicy(
        hosts,
        wrong_host="This host name is not allowed. Start the service with --allowed-hosts and the name.",
        require_secret=require_api_key,
        headers=SERVE_HEADERS,
        failure="The service failed; its log has the reason.",
        any_host_paths=HEALTH_PATHS,
        close_unread=True,
    )


def make_review_policy(host: str, token: str, key: str = "") -> GuardPolicy:
    """Build the policy of the review service.

    The token prevents cross-site requests: other pages in the same browser can send requests to the review, but
    cannot read its page and so do not know the token.

    Args:
        host: The address that the review listens on.
        token: The token that requests below `/api` must send, as `X-Review-Token` or as `?token=`.
        key: What the request for the page must send as `?token=` if the review listens on more than this machine; by
            default the token.
    """
    is_local = host in LOOPBACK
    wanted_by_page = (key or token).encode()

    def require_token(scope: Scope) -> None:
        path = scope["path"]
        if path.startswith("/static/") or (is_local and not path.startswith("/api/")):
            return
        given = Headers(scope=scope).get("x-review-token") or QueryParams(scope["query_string"]).get("token", "")
        wanted = token.encode() if path.startswith("/api/") else wanted_by_page
        if not secrets.compare_digest(given.encode(), wanted):
            message = "Open the page again at the address that the review printed: its token has changed or is missing."
            raise ProblemError(403, "no_token", message)

    return GuardPolicy(
        Hosts(host),
        wrong_host="Open the review at the address that it printed.",
        require_secret=require_token,
        headers=REVIEW_HEADERS,
        failure="The review failed; the terminal it was started in has the reason.",
    )


def make_app_policy(token: str, cookie: str) -> GuardPolicy:
    """Build the policy of the local application, which listens on this machine alone.

    The address that a person opens has the token, and the page behind it stores it in a cookie. Another page in the
    same browser may send requests with that cookie, so whatever changes something has to send the token in a header
    too. The pages of a review have a token of their own for that.

    Args:
        token: The token.
        cookie: The cookie's name.
    """

    def require_token(scope: Scope) -> None:
        path, headers = scope["path"], Headers(scope=scope)
        is_reading = scope["method"] in ("GET", "HEAD")
        if path.startswith("/static/"):
            return
        given = cookie_parser(headers.get("cookie", "")).get(cookie, "")
        if is_reading and path == "/" and "token" in (query := QueryParams(scope["query_string"])):
            given = query["token"]
        sent = given if is_reading or path.startswith("/reviews/") else headers.get("x-app-token", "")
        if not all(secrets.compare_digest(each.encode(), token.encode()) for each in (given, sent)):
            message = "Open the page at the address that `hangtag app` printed, or start `hangtag app` again."
            raise ProblemError(403, "no_token", message)

    def answer(problem: ProblemError, scope: Scope) -> Response:
        is_page = scope["method"] == "GET" and not scope["path"].startswith(("/api/", "/static/", "/reviews/"))
        return PlainTextResponse(problem.message, problem.status) if is_page else answer_problem(problem)

    return GuardPolicy(
        Hosts(LOOPBACK[0]),
        wrong_host="Open the page at the address that `hangtag app` printed.",
        require_secret=require_token,
        headers=REVIEW_HEADERS,
        failure="Something failed in hangtag itself; the terminal it was started in has the reason.",
        close_unread=True,
        answer=answer,
    )


class Guard:
    """ASGI middleware: checks the host and the secret, sets security headers, answers errors, counts requests.

    It is plain ASGI, since Starlette's `BaseHTTPMiddleware` needs a task and two queues per request.

    Args:
        app: The service.
        policy: Its requirements.
        metrics: The metrics to count requests in, or None.
    """

    def __init__(self, app: ASGIApp, *, policy: GuardPolicy, metrics: Metrics | None = None) -> None:
        self._app, self._policy, self._metrics = app, policy, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The status is 0 until the response has started.
        started, status, is_read = time.perf_counter(), 0, not _has_body(scope)

        async def watched_receive() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(self._policy.headers)
                if self._policy.close_unread and not is_read:
                    # The rest of the body is never read, so no other request can follow on this connection.
                    headers["Connection"] = "close"
            await send(message)

        try:
            self._check_host(scope)
            self._policy.require_secret(scope)
            await self._app(scope, watched_receive, watched_send)
        except ProblemError as problem:
            await self._policy.answer(problem, scope)(scope, receive, watched_send)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
            logging.getLogger("uvicorn.error").info("%s %s: the client disconnected", scope["method"], scope["path"])
        except Exception:
            # A bug: its traceback is for the log, not for the client.
            logging.getLogger("uvicorn.error").exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise
            failed = ProblemError(500, "internal", self._policy.failure)
            await answer_problem(failed)(scope, receive, watched_send)
        if self._metrics:
            self._metrics.count_request(scope, status, time.perf_counter() - started)

    def _check_host(self, scope: Scope) -> None:
        host = Headers(scope=scope).get("host", "")
        if scope["path"] not in self._policy.any_host_paths and not self._policy.hosts.allows(host):
            raise ProblemError(421, "wrong_host", self._policy.wrong_host)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
