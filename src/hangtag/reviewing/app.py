"""The HTTP service of `hangtag review`: routes and request bodies."""

import html
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Literal

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StringConstraints
from starlette.exceptions import HTTPException

from hangtag.auditing.nearest_neighbors import LookAlikes
from hangtag.errors import SettingsError
from hangtag.inference.search import SearchIndex, has_words, rank_items
from hangtag.reviewing.decision_store import DecisionStore
from hangtag.reviewing.decisions import DecisionRequest, LabelOptions, RefusedError, build_decisions
from hangtag.reviewing.filters import Filter, State
from hangtag.reviewing.grid import build_grid_decisions, find_key, list_kinds
from hangtag.reviewing.output import describe_decision, describe_in_grid, describe_issue, describe_item, describe_kind
from hangtag.reviewing.queue import Queue
from hangtag.reviewing.store import MAX_VERSION, ConflictError
from hangtag.reviewing.store_errors import StoreError
from hangtag.serving.middleware import Guard, ProblemError, answer_problem, make_review_policy

# The number of issues and of kinds of issues that the grid shows at once.
MAX_GRID, MAX_KINDS = 60, 500
# The number of products that a search shows.
MAX_FOUND = 60
NO_INDEX = (
    "Products cannot be searched for yet. Train a model with `hangtag train`, if there is none; then "
    "`hangtag search WORDS --workspace W` prepares the search, and the words can be searched for here."
)
UNKNOWN = (
    "The connection to the database was lost while this was written, so it may be stored or not. Open the page again: "
    "it shows what is stored. Nothing is stored twice."
)
# What to do once everything is decided.
APPLY = "`hangtag apply` writes the corrected catalogue."
STATIC = files("hangtag.reviewing") / "static"
PAGES = {"/": "index.html", "/grid": "grid.html"}
SCRIPTS = {
    "/static/common.js": ("common.js", "text/javascript; charset=utf-8"),
    "/static/grid.js": ("grid.js", "text/javascript; charset=utf-8"),
    "/static/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/static/page.css": ("page.css", "text/css; charset=utf-8"),
}
# PostgreSQL stores no NUL.
Reviewer = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=r"^[^\x00]*$")]
Score = Annotated[float, Query(ge=0, le=1)]
# An upper bound of positions in the queue and ids of decisions.
Number = Annotated[int, Field(ge=0, le=MAX_VERSION)]
# In a JSON body, only a JSON number is accepted, neither true nor "1".
StrictNumber = Annotated[int, Field(ge=0, le=MAX_VERSION, strict=True)]


def _read_filter(
    code: str = "",
    evidence: str = "",
    label: str = "",
    brand: str = "",
    named: Annotated[str, Query(max_length=200)] = "",
    low: Score = 0.0,
    high: Score = 1.0,
    state: State = "open",
    order: Literal["score", "random"] = "score",
) -> Filter:
    """Return the filter of a request's address."""
    return Filter(code, label, low, high, state, order, evidence, brand, named)


Wanted = Annotated[Filter, Depends(_read_filter)]


class DecisionBody(BaseModel):
    """The body of `POST /api/decisions`; see `DecisionRequest`."""

    position: StrictNumber
    action: Literal["accept", "keep", "choose", "skip"]
    versions: dict[str, StrictNumber]
    values: dict[str, str] | None = None
    whole_group: bool = False
    reviewer: Reviewer


class GridBody(BaseModel):
    """The body of `POST /api/grid`; see `build_grid_decisions`."""

    actions: Annotated[dict[Number, Literal["accept", "keep"]], Field(min_length=1, max_length=MAX_GRID)]
    versions: dict[str, StrictNumber]
    reviewer: Reviewer


class UndoBody(BaseModel):
    """The body of `POST /api/undo`: the reviewer whose last decision is undone."""

    reviewer: Reviewer


@dataclass(frozen=True)
class OpenReview:
    """The review of a workspace: its application, its token, its queue, what closes its store, and its address's key.

    See `make_review_policy` for the token and the key.
    """

    app: FastAPI
    token: str
    queue: Queue
    close: Callable[[], None]
    key: str


def build_app(
    queue: Queue,
    store: DecisionStore,
    look_alikes: LookAlikes,
    *,
    token: str,
    host: str,
    key: str = "",
    reviewer: str = "",
    shown: int = 8,
    expected: str = "",
    back: str = "",
    next_step: str = APPLY,
    find_index: Callable[[], SearchIndex | None] = lambda: None,
) -> FastAPI:
    """Build the FastAPI application of the review.

    Args:
        queue: The issues and their state.
        store: The store of decisions.
        look_alikes: The search for similar photographs.
        token: The token that requests must send; the page contains it.
        host: The address to listen on.
        key: What the address of the page must have; by default the token. See `make_review_policy`.
        reviewer: The reviewer's name; if empty, the page asks for it.
        shown: The number of look-alikes that the page shows.
        expected: How many of the first label errors are expected to be right, for the top of the page; or empty.
        back: The address of the page that leads here, if there is one.
        next_step: A sentence about what to do once everything is decided.
        find_index: Finds the search index of the catalogue, called until there is one.
    """
    app = FastAPI(title="hangtag review", version=version("hangtag"), docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(StoreError, _handle_store_error)
    app.add_middleware(Guard, policy=make_review_policy(host, token, key))
    values = {"token": token, "reviewer": reviewer, "expected": expected, "back": back, "next_step": next_step}
    _add_pages(app, values)
    options = LabelOptions(queue.items)
    _add_issue_routes(app, queue)
    _add_item_routes(app, queue, options, look_alikes, shown)
    _add_search_route(app, queue, find_index)
    _add_decision_routes(app, queue, store, options)
    _add_grid_routes(app, queue, store, options)
    return app


def _add_pages(app: FastAPI, values: dict[str, str]) -> None:
    for path, name in PAGES.items():
        page = (STATIC / name).read_text(encoding="utf-8")
        page = page.replace("{{ dialogs }}", (STATIC / "dialogs.html").read_text(encoding="utf-8"))
        for key, value in values.items():
            page = page.replace(f"{{{{ {key} }}}}", html.escape(value, quote=True))
        # The page contains the token, so no cache may store it.
        _add_file(app, path, page.encode(), "text/html; charset=utf-8", "no-store")
    for path, (name, media_type) in SCRIPTS.items():
        _add_file(app, path, (STATIC / name).read_bytes(), media_type)


def _add_file(app: FastAPI, path: str, content: bytes, media_type: str, caching: str = "no-cache") -> None:
    async def show_file() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": caching})

    app.add_api_route(path, show_file, methods=["GET", "HEAD"])


def _add_issue_routes(app: FastAPI, queue: Queue) -> None:
    @app.get("/api/next")
    def find_next(
        reviewer: Reviewer, wanted: Wanted, after: Number | None = None, backwards: bool = False
    ) -> JSONResponse:
        """Return the next issue that matches a filter, and the progress of its issues."""
        queue.refresh()
        issue = queue.find_next(wanted, after, reviewer, backwards=backwards)
        progress = {**queue.count(wanted), "an_hour": queue.compute_throughput(reviewer)}
        return JSONResponse({"issue": describe_issue(issue, queue) if issue else None, "progress": progress})

    @app.get("/api/issues/{position}")
    def show_issue(position: Number) -> JSONResponse:
        """Return one issue with its current state."""
        queue.refresh()
        if position >= len(queue.issues):
            raise ProblemError(404, "not_found", "There is no such issue.")
        return JSONResponse({"issue": describe_issue(queue.issues[position], queue)})

    @app.get("/api/filters")
    def list_filters(wanted: Wanted) -> JSONResponse:
        """Return the codes, evidence, labels and brands to filter issues by, beside the rest of a filter."""
        return JSONResponse(queue.list_filters(wanted))


def _add_item_routes(app: FastAPI, queue: Queue, options: LabelOptions, look_alikes: LookAlikes, shown: int) -> None:
    @app.get("/api/choices")
    def list_options(column: str = "") -> JSONResponse:
        """Return the values that can be chosen for a column; all levels are chosen together."""
        if column and column not in queue.items.described_by:
            raise ProblemError(404, "not_found", "The catalogue has no such level or attribute.")
        choices = [{"values": option.values, "count": option.count} for option in options.list(column)]
        return JSONResponse({"columns": options.find_columns(column), "choices": choices})

    @app.get("/api/look-alikes")
    def list_look_alikes(item_id: str, column: str = "", group_id: str = "") -> JSONResponse:
        """Return the items with the most similar photographs to an item's, without the members of a group."""
        position = _find_item(queue, item_id)
        group = queue.list_group_items(group_id)
        hidden = frozenset(queue.items.positions[member_id] for member_id in group)
        similar_ids = [queue.items.ids[neighbor] for neighbor in look_alikes.find(position, shown, hidden)]
        return JSONResponse({"items": [describe_item(similar_id, column, queue) for similar_id in similar_ids]})

    @app.get("/api/photograph")
    def show_photograph(item_id: str, number: Number = 0, small: bool = False) -> Response:
        """Return a photograph of an item: the catalogue's own file if it can be read, else the prepared pixels."""
        _find_item(queue, item_id)
        if number >= len(queue.items.list_photographs(item_id)):
            raise ProblemError(404, "not_found", "The item has no such photograph.")
        content, media_type = queue.items.read_photograph(item_id, number, original=not small)
        return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=600"})


def _add_search_route(app: FastAPI, queue: Queue, find_index: Callable[[], SearchIndex | None]) -> None:
    opened: list[SearchIndex] = []
    positions: dict[str, list[int]] = {}
    for issue in queue.issues:
        positions.setdefault(issue.item_id, []).append(issue.position)

    @app.get("/api/search")
    def search(words: Annotated[str, Query(max_length=200)]) -> JSONResponse:
        """Return the products whose photographs show what the words describe, the best first, and what to know."""
        if not opened and (index := find_index()) is not None:
            opened.append(index)
        if not opened:
            return JSONResponse({"items": [], "message": NO_INDEX})
        try:
            wanted = opened[0].read_words(words)
        except SettingsError as error:
            return JSONResponse({"items": [], "message": str(error)})
        queue.refresh()
        scores = opened[0].score_words(wanted.known)
        ids = opened[0].item_ids
        is_known = np.array([item_id in queue.items.positions for item_id in ids], bool)
        found = [ids[row] for row in rank_items(scores, is_known, MAX_FOUND)]
        items = [
            {
                **describe_item(item_id, "", queue),
                "position": _choose_position(positions.get(item_id, []), queue),
                "named": has_words(queue.items.read_name(item_id), wanted.known),
            }
            for item_id in found
        ]
        return JSONResponse({"items": items, "message": wanted.describe_left_out()})


def _choose_position(positions: list[int], queue: Queue) -> int | None:
    """Return an item's first open issue, or its first one; None where it has none."""
    still_open = [position for position in positions if queue.get_state(queue.issues[position]) == "open"]
    return next(iter([*still_open, *positions]), None)


def _add_decision_routes(app: FastAPI, queue: Queue, store: DecisionStore, options: LabelOptions) -> None:
    @app.post("/api/decisions")
    def decide(body: DecisionBody) -> JSONResponse:
        """Store a decision; return 409 if another reviewer has decided about an item since it was shown."""
        queue.refresh()
        request = DecisionRequest(body.position, body.action, body.versions, body.values, body.whole_group)
        try:
            stored = store.add(build_decisions(request, queue, options), body.reviewer)
        except RefusedError as error:
            raise ProblemError(422, "refused", str(error)) from None
        except ConflictError as error:
            return _describe_conflict(error)
        _refresh_if_unlocked(queue)
        return JSONResponse({"made": [describe_decision(decision) for decision in stored]})

    @app.post("/api/undo")
    def undo(body: UndoBody) -> JSONResponse:
        """Undo the reviewer's last decision."""
        try:
            stored = store.undo(body.reviewer)
        except ConflictError as error:
            return _describe_conflict(error)
        if not stored:
            raise ProblemError(404, "nothing_to_undo", "You have no decision left to undo.")
        _refresh_if_unlocked(queue)
        identities = {decision.identity for decision in stored}
        positions = [issue.position for issue in queue.issues if issue.identity in identities]
        made = [describe_decision(decision) for decision in stored]
        # An issue that the audit lists no more has no kind.
        kind = list(find_key(queue.issues[positions[0]])) if positions else None
        return JSONResponse({"made": made, "positions": positions, "kind": kind})


def _add_grid_routes(app: FastAPI, queue: Queue, store: DecisionStore, options: LabelOptions) -> None:
    @app.get("/api/kinds")
    def show_kinds(
        wanted: Wanted, kind: Annotated[list[str] | None, Query(min_length=4, max_length=4)] = None
    ) -> JSONResponse:
        """Return the kinds of open issues, and the issues of one of them: the wanted one, or else the first."""
        queue.refresh()
        kinds = list_kinds(queue, wanted)
        shown = next((number for number, each in enumerate(kinds) if each.has(tuple(kind or ()))), 0)
        return JSONResponse(
            {
                "kinds": [describe_kind(each) for each in kinds[:MAX_KINDS]],
                "open": sum(len(each.open) for each in kinds),
                "shown": shown,
                "issues": [describe_in_grid(issue, queue) for issue in kinds[shown].open[:MAX_GRID]] if kinds else [],
            }
        )

    @app.post("/api/grid")
    def decide_grid(body: GridBody) -> JSONResponse:
        """Store the decisions about issues of a grid, all or none; return 409 as for a single decision."""
        queue.refresh()
        try:
            stored = store.add(build_grid_decisions(body.actions, body.versions, queue, options), body.reviewer)
        except RefusedError as error:
            raise ProblemError(422, "refused", str(error)) from None
        except ConflictError as error:
            return _describe_conflict(error)
        _refresh_if_unlocked(queue)
        return JSONResponse({"items": len({decision.item_id for decision in stored})})


def _refresh_if_unlocked(queue: Queue) -> None:
    """Read the decisions that were just stored; if the file is locked, the next request reads them."""
    with suppress(StoreError):
        queue.refresh()


def _find_item(queue: Queue, item_id: str) -> int:
    try:
        return queue.items.positions[item_id]
    except KeyError:
        raise ProblemError(404, "not_found", "There is no such item.") from None


def _describe_conflict(error: ConflictError) -> JSONResponse:
    message = "Another reviewer has decided about this item in the meantime. Check it again."
    if not error.decisions:
        message = "The item's decision no longer exists. Check the item again."
    described = [{**describe_decision(decision), "item_id": decision.item_id} for decision in error.decisions]
    return JSONResponse({"error": {"code": "conflict", "message": message}, "decisions": described}, 409)


def _handle_http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    messages = {
        404: ("not_found", "There is no such path."),
        405: ("method_not_allowed", "The path does not allow this method."),
    }
    code, message = messages.get(error.status_code, ("refused", "The request cannot be answered."))
    return answer_problem(ProblemError(error.status_code, code, message))


def _handle_store_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StoreError)
    written = " Nothing was written." if request.method == "POST" else ""
    if error.is_unknown and request.method == "POST":
        return answer_problem(ProblemError(503, "unknown", UNKNOWN, retry_after=2))
    if error.is_locked:
        message = f"Another process holds the decisions.{written} Try again in a moment."
        return answer_problem(ProblemError(503, "locked", message, retry_after=2))
    # A failing disk can only be repaired on the machine that runs the review, so its terminal shows the error too.
    logging.getLogger("uvicorn.error").error("%s", error)
    message = f"The decisions cannot be read or written: {error.reason}.{written}"
    return answer_problem(ProblemError(503, "storage", message))


def _handle_invalid_request(_request: Request, _error: Exception) -> JSONResponse:
    return answer_problem(ProblemError(422, "invalid", "The request is not one that the page sends."))
