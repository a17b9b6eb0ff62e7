"""What every request passes: the host, the key, the clock, and the last word where the service itself fails."""

import logging
import secrets
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hangtag.serving.hosts import Hosts
from hangtag.serving.metrics import Metrics
from hangtag.serving.problems import ProblemError, answer_problem

HEADERS = {
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
        """Let a request through, and see it out."""
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
                headers.update(HEADERS)
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
