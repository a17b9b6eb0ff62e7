"""The HTTP service: routes, limits, responses and their OpenAPI descriptions."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hangtag.catalog.images import Photograph
from hangtag.config import ServeConfig
from hangtag.inference.classifier import Classifier
from hangtag.inference.streaming import Failure, Outcome
from hangtag.serving.batcher import Batcher, Photos, StoppedError
from hangtag.serving.decoders import Decoders
from hangtag.serving.fair_queue import (
    CHEAP_PIXELS,
    SMALL_BYTES,
    Plan,
    QueueFullError,
    ShareError,
    Shares,
    plan_decoding,
)
from hangtag.serving.middleware import (
    Hosts,
    Metrics,
    ProblemError,
    Watch,
    answer_problem,
    name_client,
    refuse_photograph,
)
from hangtag.serving.output import describe_outcome
from hangtag.serving.uploads import Upload, find_most_bytes, hold_bytes, read_uploads

# What the service takes and gives, as OpenAPI describes it.

PHOTOGRAPH: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
CLASSIFY_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        **dict.fromkeys(("image/jpeg", "image/png", "image/webp", "application/octet-stream"), PHOTOGRAPH),
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
    },
}
_CHANCE = {"type": "number", "minimum": 0, "maximum": 1}
_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
}
_RESULT = {
    "type": "object",
    "description": "An answer, or `error` in its place.",
    "properties": {
        "name": {"type": ["string", "null"], "description": "The file's name, where it was sent."},
        "label": {"type": "string", "description": "The likeliest class."},
        "confidence": {**_CHANCE, "description": "Its calibrated probability."},
        "is_sure": {"type": "boolean", "description": "Whether the confidence keeps the wanted precision."},
        "in_distribution": {"type": "boolean", "description": "Whether it looks like a catalogue photograph at all."},
        "levels": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "attributes": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"value": {"type": "string"}, "confidence": _CHANCE},
            },
        },
        "alternatives": {
            "type": "array",
            "items": {"type": "object", "properties": {"label": {"type": "string"}, "confidence": _CHANCE}},
        },
        "heatmap": {
            "type": "object",
            "description": "Where the model looked, for `explain=true`.",
            "properties": {
                "label": {"type": "string", "description": "The class that it found there."},
                "png": {
                    "type": "string",
                    "contentEncoding": "base64",
                    "contentMediaType": "image/png",
                    "description": "A picture of the photograph's proportions, transparent where nothing was found.",
                },
            },
        },
        "error": _ERROR,
    },
}


def _describe_response(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_PROBLEM = {"type": "object", "required": ["error"], "properties": {"error": _ERROR}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _describe_response(
        "An answer for each photograph, in their order.",
        {
            "type": "object",
            "required": ["model", "results"],
            "properties": {"model": {"type": "string"}, "results": {"type": "array", "items": _RESULT}},
        },
    ),
    401: _describe_response("The key is missing or wrong.", _PROBLEM),
    408: _describe_response("The upload comes too slowly.", _PROBLEM),
    413: _describe_response("Too many bytes, pixels or photographs.", _PROBLEM),
    415: _describe_response("No picture of a known kind.", _PROBLEM),
    421: _describe_response("The service does not know itself by the name that it was asked under.", _PROBLEM),
    422: _describe_response(
        "The picture is empty or damaged, the form has no file, or the model cannot explain.", _PROBLEM
    ),
    429: _describe_response("Too many requests at once from this client.", _PROBLEM),
    503: _describe_response("Too much to do, or being stopped: try again after `Retry-After` seconds.", _PROBLEM),
}


# Bytes of all uploads that are in memory at once; more where one request may have as many.
UPLOAD_BYTES = 128_000_000
# How long what waits may take once the service is told to stop.
STOP_SECONDS = 15.0
STATIC = files("hangtag.serving") / "static"
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/static/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/static/page.css": ("page.css", "text/css; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/static/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
Explain = Annotated[
    bool, Query(description="Say of each photograph where the model looked, too, as a picture to lay over it.")
]
OPEN_PATHS = {"/healthz", "/readyz", *PAGES, "/openapi.json"}


def build_app(classifier: Classifier, config: ServeConfig, *, api_key: str | None = None) -> FastAPI:
    """Build the service around a model.

    Args:
        classifier: An exported model, loaded for `config.workers` streams.
        config: Settings.
        api_key: What requests have to bring along, as `Authorization: Bearer KEY` or `X-API-Key: KEY`; None: nothing.
    """
    metrics = Metrics()
    service = _Service(classifier, config, metrics)

    @asynccontextmanager
    async def run(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.stop)

    # The page of FastAPI's own loads its scripts from elsewhere; ours stands alone.
    app = FastAPI(title="hangtag", version=version("hangtag"), lifespan=run, docs_url=None, redoc_url=None)
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)

    app.add_middleware(
        Watch,
        metrics=metrics,
        api_key=api_key,
        open_paths=OPEN_PATHS,
        hosts=Hosts(config.host, config.allowed_hosts),
    )

    @app.post("/v1/classify", responses=ANSWERS, openapi_extra={"requestBody": CLASSIFY_BODY}, tags=["classify"])
    async def classify(request: Request, explain: Explain = False) -> JSONResponse:
        """Classify one photograph, sent as it is or as a form's file, or many, sent as a form's files.

        One photograph that cannot be used is an error; among many it is an `error` in its place.
        """
        return await service.classify(request, explain)

    @app.get("/v1/model", tags=["model"])
    async def model() -> dict[str, Any]:
        """Describe which model answers: its classes, its figures, and from which confidence on it is sure."""
        return service.describe()

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Describe that the process lives."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"])
    async def readyz() -> dict[str, str]:
        """Return whether a photograph would be taken now."""
        if not service.is_ready:
            raise ProblemError(503, "not_ready", "The service is starting, stopping, or has too much to do.", 1)
        return {"status": "ready"}

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def show_metrics() -> Response:
        """Return counts and times for Prometheus."""
        return Response(metrics.render(service.waiting), media_type=metrics.content_type)

    for path, (name, kind) in PAGES.items():
        _add_page(app, path, (STATIC / name).read_bytes(), kind)
    return app


def _add_page(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    async def page() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    app.add_api_route(path, page, include_in_schema=False, methods=["GET", "HEAD"])


class _Service:
    """The model behind the routes, and the limits before it."""

    def __init__(self, classifier: Classifier, config: ServeConfig, metrics: Metrics) -> None:
        self._classifier, self._config, self._metrics = classifier, config, metrics
        self._batcher: Batcher | None = None
        self._decoders: Decoders | None = None
        self._memory = Shares(max(UPLOAD_BYTES, 2 * find_most_bytes(config)))
        self._can_explain = False
        # Requests in work, by the client's address.
        self._clients: Counter[str] = Counter()

    def start(self) -> None:
        config = self._config
        # Known before anybody asks, since it opens the network anew.
        self._can_explain = self._classifier.can_explain
        workers = config.workers or os.cpu_count() or 1
        self._batcher = Batcher(
            self._classifier,
            precision=config.target_precision,
            max_pixels=min(config.max_pixels, CHEAP_PIXELS),
            max_waiting=config.max_waiting,
            workers=workers,
        )
        self._decoders = Decoders(
            self._classifier.image_size,
            # Half of the processors stay free for all others, whatever is uploaded.
            count=max(workers // 2, 1),
            max_pixels=config.max_pixels,
            max_waiting=config.max_waiting,
        )

    def stop(self) -> None:
        if self._batcher:
            self._batcher.stop(STOP_SECONDS)
        if self._decoders:
            self._decoders.stop()

    @property
    def is_ready(self) -> bool:
        return self._batcher is not None and self._batcher.is_ready

    @property
    def waiting(self) -> int:
        return self._batcher.waiting if self._batcher else 0

    async def classify(self, request: Request, explain: bool) -> JSONResponse:
        if explain and not self._can_explain:
            raise ProblemError(422, "cannot_explain", "This model cannot show where it looked. Ask without `explain`.")
        client = name_client(request.client.host if request.client else "")
        if self._clients[client] >= self._config.max_requests_a_client:
            message = f"More than {self._config.max_requests_a_client} requests at once. Wait for an answer first."
            raise ProblemError(429, "too_many_requests", message, 1)
        self._clients[client] += 1
        try:
            with hold_bytes(self._memory, client) as held:
                async with asyncio.timeout(self._config.timeout):
                    uploads = await read_uploads(request, self._config, held)
                    outcomes = await self._ask(uploads, explain, client)
                    names = [upload.name for upload in uploads]
                    del uploads
        except TimeoutError:
            message = f"The upload and its answer took more than {self._config.timeout:g} seconds. Try again."
            raise ProblemError(503, "timeout", message, 1) from None
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
        self._metrics.note_outcomes(outcomes)
        if len(outcomes) == 1 and isinstance(outcomes[0], Failure):
            raise refuse_photograph(outcomes[0].code, outcomes[0].reason)
        # Maps are drawn into pictures, which takes a millisecond each.
        told = await asyncio.to_thread(lambda: [*map(_to_json, outcomes)]) if explain else [*map(_to_json, outcomes)]
        results = [{"name": name, **each} for name, each in zip(names, told, strict=True)]
        return JSONResponse({"model": self._classifier.name, "results": results})

    async def _ask(self, uploads: list[Upload], explain: bool, client: str) -> list[Outcome]:
        assert self._batcher is not None
        contents = [upload.content for upload in uploads]
        if sum(map(len, contents)) <= SMALL_BYTES:
            plan = plan_decoding(contents, self._config)
        else:
            plan = await asyncio.to_thread(plan_decoding, contents, self._config)
        try:
            photos = await self._decode(contents, plan, client)
            answers = self._batcher.submit(photos, explain=explain, client=client, cost=plan.milliseconds)
            return await asyncio.wrap_future(answers)
        except QueueFullError:
            raise ProblemError(503, "overloaded", "Too many photographs are waiting. Try again soon.", 1) from None
        except ShareError:
            message = "Too many photographs from this address are waiting. Wait for an answer first."
            raise ProblemError(429, "too_many_requests", message, 1) from None
        except StoppedError:
            raise ProblemError(503, "stopping", "The service is being stopped. Try again soon.", 5) from None

    async def _decode(self, contents: list[bytes], plan: Plan, client: str) -> Photos:
        """Decode the costly photographs of a request in processes of their own; the others stay encoded."""
        if not plan.costly:
            return contents
        assert self._decoders is not None
        photos: list[bytes | Photograph | Failure] = list(contents)
        waiting: dict[int, asyncio.Future[Photograph | Failure]] = {}
        try:
            for index in plan.costly:
                if (refused := self._decoders.refuse(plan.headers[index])) is not None:
                    photos[index] = refused
                    continue
                asked = self._decoders.submit(contents[index], plan.headers[index], client)
                waiting[index] = asyncio.wrap_future(asked)
            for index, future in waiting.items():
                photos[index] = await future
        finally:
            # Where the request is refused or given up, those that are still in the queue leave it.
            for future in waiting.values():
                future.cancel()
        return photos

    def describe(self) -> dict[str, Any]:
        classifier = self._classifier
        outputs, description = classifier.outputs, classifier.description
        return {
            "name": classifier.name,
            "architecture": description.get("architecture"),
            "image_size": list(classifier.image_size),
            "classes": list(outputs.class_names),
            "primary": outputs.primary,
            "levels": {level: list(names) for level, names in outputs.levels.items()},
            "attributes": {column: list(names) for column, names in outputs.attributes.items()},
            "target_precision": self._config.target_precision,
            "can_explain": self._can_explain,
            "threshold": classifier.find_threshold(self._config.target_precision),
            "figures": description.get("figures", {}),
            "network": description.get("network", {}),
            "limits": {
                "bytes": self._config.max_bytes,
                "pixels": self._config.max_pixels,
                "request_pixels": self._config.max_request_pixels,
                "photographs": self._config.max_photos,
                "seconds": self._config.timeout,
            },
        }


def _to_json(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return refuse_photograph(outcome.code, outcome.reason).to_json()
    return describe_outcome(outcome)


def _answer_problem(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, ProblemError)
    return answer_problem(problem)


def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    messages = {
        404: ("not_found", "There is nothing here. GET /docs says what there is."),
        405: ("method_not_allowed", "This cannot be asked in this way. GET /docs says how."),
    }
    code, message = messages.get(error.status_code, ("refused", "The request cannot be answered."))
    return _answer_problem(request, ProblemError(error.status_code, code, message))


def _answer_invalid_request(request: Request, _error: Exception) -> JSONResponse:
    return _answer_problem(request, ProblemError(422, "invalid", "The request is not as GET /docs describes it."))
