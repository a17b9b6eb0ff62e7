"""The HTTP service of `hangtag serve`: routes, and limits per request."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hangtag.catalog.images import Photograph
from hangtag.config import ServeConfig
from hangtag.inference.classifier import Classifier
from hangtag.inference.streaming import Failure, Outcome
from hangtag.io import JsonObject
from hangtag.processors import count_processors
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
from hangtag.serving.metrics import Metrics
from hangtag.serving.middleware import (
    Guard,
    Hosts,
    ProblemError,
    ServiceState,
    answer_problem,
    make_serve_policy,
    name_client,
    refuse_photograph,
)
from hangtag.serving.model_card import label_figures
from hangtag.serving.openapi import CLASSIFY_BODY, CLASSIFY_RESPONSES, Explain
from hangtag.serving.output import describe_outcome
from hangtag.serving.uploads import Upload, find_most_bytes, hold_bytes, read_uploads

# Bytes of all uploads in memory at once, in all processes; the limit is higher if a single request may have more.
UPLOAD_BYTES = 128_000_000
# Seconds to classify the waiting photographs after the service is asked to stop.
STOP_SECONDS = 15.0
STATIC = files("hangtag.serving") / "static"
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/static/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/static/page.css": ("page.css", "text/css; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/static/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
# Paths that need no API key.
OPEN_PATHS = {"/healthz", "/readyz", *PAGES, "/openapi.json"}


def build_app(
    classifier: Classifier,
    config: ServeConfig,
    *,
    api_key: str | None = None,
    metrics: Metrics | None = None,
    state: ServiceState | None = None,
) -> FastAPI:
    """Build the FastAPI application that serves a model.

    Args:
        classifier: An exported model, loaded for as many streams as a process has workers.
        config: The settings of the service, for all of its processes together.
        api_key: The key that requests must send as `Authorization: Bearer KEY` or `X-API-Key: KEY`; None for no key.
        metrics: Metrics that are shared with other processes; by default those of this process alone.
        state: The state that is shared with the server.
    """
    metrics, state = metrics or Metrics(), state or ServiceState()
    service = _Service(classifier, config, metrics, state)

    @asynccontextmanager
    async def run(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        following = asyncio.create_task(metrics.follow_waiting(lambda: service.waiting))
        yield
        following.cancel()
        await asyncio.to_thread(service.stop)

    # FastAPI's own documentation page loads scripts from a CDN; hangtag's page works offline.
    app = FastAPI(title="hangtag", version=version("hangtag"), lifespan=run, docs_url=None, redoc_url=None)
    app.add_exception_handler(ProblemError, _handle_problem)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    policy = make_serve_policy(Hosts(config.host, config.allowed_hosts), api_key, OPEN_PATHS)
    app.add_middleware(Guard, policy=policy, metrics=metrics, state=state)
    _add_routes(app, service, metrics)
    for path, (name, media_type) in PAGES.items():
        _add_page(app, path, (STATIC / name).read_bytes(), media_type)
    return app


def _add_routes(app: FastAPI, service: "_Service", metrics: Metrics) -> None:
    responses, body = CLASSIFY_RESPONSES, {"requestBody": CLASSIFY_BODY}

    @app.post("/v1/classify", responses=responses, openapi_extra=body, tags=["classify"])
    async def classify(request: Request, explain: Explain = False) -> JSONResponse:
        """Classify one photograph, sent as the body or as a form's file, or several, sent as a form's files.

        A single photograph that cannot be classified is an error response; one of several has an `error` instead of
        its prediction.
        """
        return await service.classify(request, explain)

    @app.get("/v1/model", tags=["model"])
    async def model() -> JsonObject:
        """Return the model's classes, evaluation metrics, confidence threshold and limits."""
        return service.describe_model()

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Return 200 while the process runs (liveness)."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"])
    async def readyz() -> dict[str, str]:
        """Return 200 if a photograph would be accepted now, else 503 (readiness)."""
        if not service.is_ready:
            raise ProblemError(503, "not_ready", "The service is starting, stopping, or overloaded.", 1)
        return {"status": "ready"}

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def show_metrics() -> Response:
        """Return counters and timings in Prometheus's text format."""
        return Response(metrics.render(service.waiting), media_type=metrics.content_type)


def _add_page(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    async def page() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    app.add_api_route(path, page, include_in_schema=False, methods=["GET", "HEAD"])


class _Service:
    """Classifies the photographs of requests, within limits per client and for all clients together."""

    def __init__(self, classifier: Classifier, config: ServeConfig, metrics: Metrics, state: ServiceState) -> None:
        self._classifier, self._config, self._metrics, self._state = classifier, config, metrics, state
        self._batcher: Batcher | None = None
        self._decoders: Decoders | None = None
        self._memory = Shares(max(config.share(UPLOAD_BYTES), 2 * find_most_bytes(config)))
        self._can_explain = False
        # The number of current requests by client; see `name_client`.
        self._clients: Counter[str] = Counter()

    def start(self) -> None:
        config = self._config
        # Check this at start-up, since it loads the network a second time.
        self._can_explain = self._classifier.can_explain
        workers = config.share(config.workers or count_processors())
        max_waiting = config.share(config.max_waiting)
        self._batcher = Batcher(
            self._classifier,
            precision=config.target_precision,
            max_pixels=min(config.max_pixels, CHEAP_PIXELS),
            max_waiting=max_waiting,
            workers=workers,
        )
        self._decoders = Decoders(
            self._classifier.image_size,
            # Half of the processors stay free for other requests, however costly an upload is to decode.
            count=max(workers // 2, 1),
            max_pixels=config.max_pixels,
            max_waiting=max_waiting,
        )

    def stop(self) -> None:
        if self._batcher:
            self._batcher.stop(STOP_SECONDS)
        if self._decoders:
            self._decoders.stop()

    @property
    def is_ready(self) -> bool:
        return self._batcher is not None and self._batcher.is_ready and not self._state.is_draining

    @property
    def waiting(self) -> int:
        return self._batcher.waiting if self._batcher else 0

    async def classify(self, request: Request, explain: bool) -> JSONResponse:
        if explain and not self._can_explain:
            message = "This model cannot compute heat maps. Send the request without `explain`."
            raise ProblemError(422, "cannot_explain", message)
        client = name_client(request.client.host if request.client else "")
        if self._clients[client] >= self._config.max_requests_a_client:
            message = f"More than {self._config.max_requests_a_client} requests at once. Wait for a response first."
            raise ProblemError(429, "too_many_requests", message, 1)
        self._clients[client] += 1
        try:
            with hold_bytes(self._memory, client) as held:
                async with asyncio.timeout(self._config.timeout):
                    uploads = await read_uploads(request, self._config, held)
                    outcomes = await self._classify_uploads(uploads, explain, client)
                    names = [upload.name for upload in uploads]
                    del uploads
        except TimeoutError:
            message = f"The request took more than {self._config.timeout:g} seconds. Try again."
            raise ProblemError(503, "timeout", message, 1) from None
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
        self._metrics.count_outcomes(outcomes)
        if len(outcomes) == 1 and isinstance(outcomes[0], Failure):
            raise refuse_photograph(outcomes[0].code, outcomes[0].reason)
        # Encoding a heat map as PNG takes a millisecond, so that is done outside the event loop.
        described = await asyncio.to_thread(_describe_outcomes, outcomes) if explain else _describe_outcomes(outcomes)
        results = [{"name": name, **result} for name, result in zip(names, described, strict=True)]
        return JSONResponse({"model": self._classifier.name, "results": results})

    async def _classify_uploads(self, uploads: list[Upload], explain: bool, client: str) -> list[Outcome]:
        assert self._batcher is not None
        contents = [upload.content for upload in uploads]
        if sum(map(len, contents)) <= SMALL_BYTES:
            plan = plan_decoding(contents, self._config)
        else:
            plan = await asyncio.to_thread(plan_decoding, contents, self._config)
        try:
            photos = await self._decode_costly(contents, plan, client)
            outcomes = self._batcher.submit(photos, explain=explain, client=client, cost=plan.milliseconds)
            return await asyncio.wrap_future(outcomes)
        except QueueFullError:
            raise ProblemError(503, "overloaded", "Too many photographs are waiting. Try again soon.", 1) from None
        except ShareError:
            message = "Too many photographs from this address are waiting. Wait for a response first."
            raise ProblemError(429, "too_many_requests", message, 1) from None
        except StoppedError:
            raise ProblemError(503, "stopping", "The service is stopping. Try again soon.", 5) from None

    async def _decode_costly(self, contents: list[bytes], plan: Plan, client: str) -> Photos:
        """Decode the costly photographs of a request in separate processes; return the others as file contents."""
        if not plan.costly:
            return contents
        assert self._decoders is not None
        photos: list[bytes | Photograph | Failure] = list(contents)
        waiting: dict[int, asyncio.Future[Photograph | Failure]] = {}
        try:
            for index in plan.costly:
                if (failure := self._decoders.refuse(plan.headers[index])) is not None:
                    photos[index] = failure
                    continue
                decoded = self._decoders.submit(contents[index], plan.headers[index], client)
                waiting[index] = asyncio.wrap_future(decoded)
            for index, future in waiting.items():
                photos[index] = await future
        finally:
            # If the request is refused or times out, its photographs leave the queue.
            for future in waiting.values():
                future.cancel()
        return photos

    def describe_model(self) -> JsonObject:
        classifier = self._classifier
        label_space, description = classifier.label_space, classifier.description
        return {
            "name": classifier.name,
            "architecture": description.get("architecture"),
            "image_size": list(classifier.image_size),
            "classes": list(label_space.class_names),
            "primary": label_space.primary,
            "levels": {level: list(names) for level, names in label_space.levels.items()},
            "attributes": {column: list(names) for column, names in label_space.attributes.items()},
            "target_precision": self._config.target_precision,
            "can_explain": self._can_explain,
            "threshold": classifier.find_threshold(self._config.target_precision),
            "figures": {},
            **label_figures(description),
            "network": description.get("network", {}),
            "limits": {
                "bytes": self._config.max_bytes,
                "pixels": self._config.max_pixels,
                "request_pixels": self._config.max_request_pixels,
                "photographs": self._config.max_photos,
                "seconds": self._config.timeout,
            },
        }


def _describe_outcomes(outcomes: list[Outcome]) -> list[JsonObject]:
    return [
        refuse_photograph(outcome.code, outcome.reason).to_json()
        if isinstance(outcome, Failure)
        else describe_outcome(outcome)
        for outcome in outcomes
    ]


def _handle_problem(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, ProblemError)
    return answer_problem(problem)


def _handle_http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    messages = {
        404: ("not_found", "There is no such path. GET /docs lists the paths."),
        405: ("method_not_allowed", "The path does not allow this method. GET /docs lists the methods."),
    }
    code, message = messages.get(error.status_code, ("refused", "The request cannot be answered."))
    return answer_problem(ProblemError(error.status_code, code, message))


def _handle_invalid_request(_request: Request, _error: Exception) -> JSONResponse:
    return answer_problem(ProblemError(422, "invalid", "The request is not as GET /docs describes it."))
