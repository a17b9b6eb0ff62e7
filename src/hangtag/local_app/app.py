"""The HTTP service of `hangtag app`: routes, request bodies and the pages."""

import html
import re
import secrets
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, Field, StringConstraints
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hangtag.errors import HangtagError, describe_mistake
from hangtag.local_app.browsing import MAX_FILES, MAX_PIECE, Uploads, list_folder, read_path
from hangtag.local_app.catalogs import CATALOG_ID, ChosenCatalog, Shelf
from hangtag.local_app.desk import Desk
from hangtag.local_app.preview import leave_out_flags
from hangtag.reviewing.app import OpenReview
from hangtag.serving.middleware import Guard, ProblemError, answer_problem, make_app_policy

STATIC = files("hangtag.local_app") / "static"
# The review's style sheet has the colours and the type of this page too.
REVIEW_STATIC = files("hangtag.reviewing") / "static"
SCRIPTS = ("common.js", "choose.js", "columns.js", "catalogue.js")
JAVASCRIPT, CSS = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
COOKIE_SECONDS = 365 * 24 * 3600
# The longest body of a request, in bytes, and that of lists of files and columns; `MAX_PIECE` is that of a piece.
MAX_BODY, MAX_LIST = 1_000_000, 64_000_000
# The columns of a table whose meaning can be chosen.
MAX_COLUMNS = 5000
PIECE_PATH = re.compile(r"/api/uploads/[0-9a-f]+/pieces")
COLUMNS_PATH = re.compile(r"/api/catalogues/[^/]+/columns")
REVIEW_PATH = re.compile(r"/reviews/([^/]+)(/.*)?", re.DOTALL)
ShortText = Annotated[str, StringConstraints(max_length=4096)]


class ChosenBody(BaseModel):
    """The body of `POST /api/catalogues`: a path on this machine, and the catalogue whose newer export it is."""

    path: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)]
    replaces: ShortText = ""


class ColumnsBody(BaseModel):
    """The body of `POST /api/catalogues/{id}/columns`; see `change_columns`."""

    roles: dict[str, str]
    pattern: ShortText | None = None


class UploadedFile(BaseModel):
    """A file of an upload: its path below what was dropped, with forward slashes, and its bytes."""

    path: ShortText
    size: Annotated[int, Field(ge=0, strict=True)]


class UploadBody(BaseModel):
    """The body of `POST /api/uploads`."""

    files: Annotated[list[UploadedFile], Field(max_length=MAX_FILES)]


def build_app(shelf: Shelf, desk: Desk, uploads: Uploads, *, token: str, cookie: str) -> FastAPI:
    """Build the FastAPI application.

    Args:
        shelf: The catalogues that a person has chosen.
        desk: What can be done with them.
        uploads: Receives what is dropped on the page.
        token: The token of the address that a person opens; see `make_app_policy`.
        cookie: The name of the cookie that holds it.
    """
    app = FastAPI(title="hangtag app", version=version("hangtag"), docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(HangtagError, _handle_mistake)
    app.add_exception_handler(OSError, _handle_mistake)
    # The last one is asked first.
    app.add_middleware(_ReviewRoutes, shelf=shelf, desk=desk)
    app.add_middleware(_LimitedBody)
    app.add_middleware(Guard, policy=make_app_policy(token, cookie))
    _add_pages(app, token, cookie)
    _add_choosing(app, shelf, desk, uploads)
    _add_columns(app, shelf, desk)
    _add_checking(app, shelf, desk)
    _add_downloads(app, shelf, desk)
    return app


def _add_pages(app: FastAPI, token: str, cookie: str) -> None:
    def read_page(name: str) -> str:
        page = (STATIC / name).read_text(encoding="utf-8")
        return page.replace("{{ token }}", html.escape(token, quote=True))

    first, catalogue = read_page("index.html"), read_page("catalogue.html")

    def show(page: str) -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})

    @app.get("/")
    def show_first_page(request: Request) -> Response:
        """Return the first page; its address loses the token, which goes to a cookie that no script reads."""
        if "token" not in request.query_params:
            return show(first)
        response = RedirectResponse("/", 303)
        response.set_cookie(cookie, token, max_age=COOKIE_SECONDS, httponly=True, samesite="strict", path="/")
        return response

    @app.get("/catalogues/{catalog_id}")
    def show_catalog_page(catalog_id: str) -> Response:
        """Return the page of a catalogue."""
        return show(catalogue) if CATALOG_ID.fullmatch(catalog_id) else RedirectResponse("/", 303)

    for name in SCRIPTS:
        _add_file(app, f"/static/{name}", (STATIC / name).read_bytes(), JAVASCRIPT)
    for folder, name in ((STATIC, "app.css"), (REVIEW_STATIC, "page.css")):
        _add_file(app, f"/static/{name}", (folder / name).read_bytes(), CSS)


def _add_file(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    async def show_file() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    app.add_api_route(path, show_file, methods=["GET", "HEAD"])


def _add_choosing(app: FastAPI, shelf: Shelf, desk: Desk, uploads: Uploads) -> None:
    @app.get("/api/catalogues")
    def list_catalogs() -> JSONResponse:
        """Return the catalogues that were chosen before, the last one first."""
        return JSONResponse({"catalogues": [desk.describe(each) for each in shelf.list()]})

    @app.post("/api/catalogues")
    def choose(body: ChosenBody) -> JSONResponse:
        """Choose a catalogue on this machine, or a newer export of one."""
        return _choose(read_path(body.path), body.replaces)

    def _choose(path: Path, replaces: str) -> JSONResponse:
        chosen = desk.choose(path, shelf.read(replaces) if replaces else None)
        return JSONResponse({"id": chosen.catalog_id})

    @app.get("/api/browse")
    def browse(path: ShortText = "") -> JSONResponse:
        """Return the folders and catalogues in a folder of this machine."""
        return JSONResponse(list_folder(path))

    @app.post("/api/uploads")
    def begin_upload(body: UploadBody) -> JSONResponse:
        """Begin to store what was dropped on the page."""
        name = uploads.begin([(each.path, each.size) for each in body.files])
        return JSONResponse({"id": name, "piece": MAX_PIECE})

    @app.post("/api/uploads/{name}/pieces")
    async def add_piece(request: Request, name: str, offset: int) -> JSONResponse:
        """Store a piece; the whole upload is given up if that fails."""
        piece = await request.body()
        return JSONResponse({"received": await run_in_threadpool(uploads.add, name, offset, piece)})

    @app.post("/api/uploads/{name}/finish")
    def finish_upload(name: str, replaces: ShortText = "") -> JSONResponse:
        """Choose what was uploaded, once all of it is there."""
        path = uploads.finish(name)
        try:
            return _choose(path, replaces)
        except (HangtagError, ProblemError, OSError):
            uploads.discard(name)
            raise

    @app.delete("/api/uploads/{name}")
    def cancel_upload(name: str) -> JSONResponse:
        """Remove what has been uploaded so far."""
        uploads.cancel(name)
        return JSONResponse({})


def _add_columns(app: FastAPI, shelf: Shelf, desk: Desk) -> None:
    @app.get("/api/catalogues/{catalog_id}/preview")
    def preview(catalog_id: str) -> JSONResponse:
        """Return the first rows, and what the columns are taken for."""
        return JSONResponse(desk.preview(shelf.read(catalog_id)))

    @app.post("/api/catalogues/{catalog_id}/columns")
    def change(catalog_id: str, body: ColumnsBody) -> JSONResponse:
        """Take columns for something else, and return the first rows as they are read then."""
        if len(body.roles) > MAX_COLUMNS:
            message = (
                "The table has too many columns to choose their meaning on this page. "
                f"Allowed: up to {MAX_COLUMNS:,} columns. Received: {len(body.roles):,}. Remove columns that have "
                "nothing to do with the products from the table, or describe it in a catalog.toml beside it."
            )
            raise ProblemError(422, "too_many_columns", message)
        return JSONResponse(desk.change_columns(shelf.read(catalog_id), body.roles, body.pattern))

    @app.delete("/api/catalogues/{catalog_id}/columns")
    def reset(catalog_id: str) -> JSONResponse:
        """Forget what was chosen, and return the first rows as hangtag reads them by itself."""
        return JSONResponse(desk.reset_columns(shelf.read(catalog_id)))

    @app.get("/api/catalogues/{catalog_id}/picture")
    def show_picture(catalog_id: str, row: int, number: int) -> Response:
        """Return a photograph of one of the first rows."""
        content = desk.get_picture(shelf.read(catalog_id), row, number)
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=600"})


def _add_checking(app: FastAPI, shelf: Shelf, desk: Desk) -> None:
    @app.get("/api/catalogues/{catalog_id}")
    def show(catalog_id: str) -> JSONResponse:
        """Return a catalogue with the progress of its check, and with the results of the last one."""
        return JSONResponse(desk.describe_fully(shelf.read(catalog_id)))

    @app.post("/api/catalogues/{catalog_id}/check")
    def start(catalog_id: str) -> JSONResponse:
        """Start a check; it waits while another catalogue is checked."""
        desk.start(shelf.read(catalog_id))
        return JSONResponse(desk.describe_fully(shelf.read(catalog_id)))

    @app.delete("/api/catalogues/{catalog_id}/check")
    def stop(catalog_id: str) -> JSONResponse:
        """Stop the check; what it has finished is used the next time."""
        desk.stop(shelf.read(catalog_id))
        return JSONResponse(desk.describe_fully(shelf.read(catalog_id)))

    @app.get("/api/catalogues/{catalog_id}/open")
    def count_open(catalog_id: str) -> JSONResponse:
        """Return how much of the review is left."""
        return JSONResponse(desk.count_open(shelf.read(catalog_id)))

    @app.get("/api/catalogues/{catalog_id}/product")
    def show_product(catalog_id: str, item_id: ShortText) -> Response:
        """Return the photograph of a product that was checked."""
        content, media_type = desk.get_photograph(shelf.read(catalog_id), item_id)
        return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=600"})

    @app.post("/api/catalogues/{catalog_id}/apply")
    def apply(catalog_id: str) -> JSONResponse:
        """Write the corrected file, to be downloaded then, and return what it changes."""
        return JSONResponse(desk.apply(shelf.read(catalog_id)))


def _add_downloads(app: FastAPI, shelf: Shelf, desk: Desk) -> None:
    def add(name: str, find: Callable[[ChosenCatalog], tuple[Path, str]]) -> None:
        def download(catalog_id: str) -> Response:
            path, file_name = find(shelf.read(catalog_id))
            return _send(path, file_name)

        app.add_api_route(f"/catalogues/{{catalog_id}}/{name}", download, methods=["GET"])

    add("corrected", desk.find_corrected)
    add("changes", desk.find_changes)
    add("not-read", desk.find_rejected)
    add("description", desk.find_description)


def _send(path: Path, name: str) -> Response:
    # Never shown by the browser, whatever its content is.
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='', errors='replace')}",
        "Cache-Control": "no-store",
    }
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


class _LimitedBody:
    """ASGI middleware that refuses a longer body than a request of the page has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_list = scope["path"] == "/api/uploads" or COLUMNS_PATH.fullmatch(scope["path"])
        limit = MAX_PIECE if PIECE_PATH.fullmatch(scope["path"]) else MAX_LIST if is_list else MAX_BODY
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _make_too_large(limit, f"{int(length):,}")
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _make_too_large(limit, "more")
            return message

        async def send_allowed(message: Message) -> None:
            # FastAPI takes whatever is raised while a body is read for one that it cannot parse.
            if received <= limit:
                await send(message)

        await self._app(scope, receive_limited, send_allowed)
        if received > limit:
            raise _make_too_large(limit, "more")


def _make_too_large(limit: int, received: str) -> ProblemError:
    message = (
        f"The request is too large. Allowed: up to {limit:,} bytes. Received: {received}. "
        "Choose the catalogue by its path, or make it smaller."
    )
    return ProblemError(413, "too_large", message)


class _ReviewRoutes:
    """ASGI middleware that passes what is below `/reviews/ID/` to the review of that catalogue."""

    def __init__(self, app: ASGIApp, shelf: Shelf, desk: Desk) -> None:
        self._app, self._shelf, self._desk = app, shelf, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = REVIEW_PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match is None:
            await self._app(scope, receive, send)
            return
        catalog_id, path = match.groups()
        if not path:
            await RedirectResponse(f"/reviews/{catalog_id}/", 308)(scope, receive, send)
            return
        is_page = path in ("/", "/grid")
        try:
            review = await run_in_threadpool(self._open, catalog_id, is_new=is_page)
        except (HangtagError, ProblemError) as error:
            # Its page says what the matter is.
            problem = error if isinstance(error, ProblemError) else ProblemError(409, "no_review", str(error))
            shown = RedirectResponse(f"/catalogues/{catalog_id}", 303) if is_page else answer_problem(problem)
            await shown(scope, receive, send)
            return
        token = _read_review_token(scope)
        if path.startswith("/api/") and not secrets.compare_digest(token.encode(), review.token.encode()):
            await answer_problem(self._desk.explain_token(token))(scope, receive, send)
            return
        await review.app({**scope, "path": path, "raw_path": path.encode(), "root_path": ""}, receive, send)

    def _open(self, catalog_id: str, *, is_new: bool) -> OpenReview:
        return self._desk.open_review(self._shelf.read(catalog_id), is_new=is_new)


def _read_review_token(scope: Scope) -> str:
    """Return the token that a page of a review sends, which says which review made it."""
    return Headers(scope=scope).get("x-review-token") or QueryParams(scope["query_string"]).get("token", "")


def _handle_http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    messages = {
        404: ("not_found", "There is no such page."),
        405: ("method_not_allowed", "The path does not allow this method."),
    }
    code, message = messages.get(error.status_code, ("refused", "The request cannot be answered."))
    return answer_problem(ProblemError(error.status_code, code, message))


def _handle_invalid_request(_request: Request, _error: Exception) -> JSONResponse:
    return answer_problem(ProblemError(422, "invalid", "The request is not one that the page sends."))


def _handle_mistake(_request: Request, error: Exception) -> JSONResponse:
    message = describe_mistake(error)
    if message is None:
        raise error
    return answer_problem(ProblemError(422, "mistake", leave_out_flags(message)))
