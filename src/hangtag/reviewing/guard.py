"""What every request to the review has to pass: it comes from the page that the review gave, and no other."""

import logging
import secrets

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hangtag.serving.hosts import LOOPBACK, Hosts
from hangtag.serving.problems import ProblemError, answer_problem

HEADERS = {
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
        """Let a request through, and see it out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
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
