"""What every request passes: the key, the clock, and the last word where the service itself fails."""

import logging
import secrets
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hangtag.serving.metrics import Metrics
from hangtag.serving.problems import ProblemError, answer_problem

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Watch:
    """A layer around the service: plain ASGI, for Starlette's own class costs a task and two queues a request.

    Args:
        app: The service.
        metrics: Where requests are counted.
        api_key: What requests have to bring along; None: nothing.
        open_paths: Paths that need no key.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, api_key: str | None, open_paths: Collection[str]) -> None:
        self._app, self._metrics, self._api_key, self._open_paths = app, metrics, api_key, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, and see it out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            self._check_key(scope)
            await self._app(scope, receive, watched)
        except ProblemError as problem:
            await answer_problem(problem)(scope, receive, watched)
        except Exception:
            # A bug: its traceback is for the log, not for the client.
            logging.getLogger("uvicorn.error").exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise
            failed = ProblemError(500, "internal", "The service failed; its log says why.")
            await answer_problem(failed)(scope, receive, watched)
        self._metrics.note(scope, status, time.perf_counter() - started)

    def _check_key(self, scope: Scope) -> None:
        if self._api_key is None or scope["path"] in self._open_paths:
            return
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not secrets.compare_digest(given.encode(), self._api_key.encode()):
            raise ProblemError(401, "no_key", "Send the service's key as `Authorization: Bearer KEY`.")
