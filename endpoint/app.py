"""Assembles the service: the state that routes share, the routes, what wraps them.

Nothing is decided here. A new family of routes is a module of its own, its routes added below.
"""

import gc
import os
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from inspect import iscoroutinefunction
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import duckdb
import structlog
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from endpoint import documentation, metrics_catalog, service_metrics
from endpoint.aggregate_queries import QUERY_PATH as QUERY_AGGREGATE_PATH
from endpoint.aggregate_queries import REQUEST_PATH, RESULT_PATH, AggregateQueries
from endpoint.auth import Gate
from endpoint.bodies import read_body
from endpoint.cursors import Cursors, secret_of
from endpoint.errors import (
    ApiError,
    damaged,
    error_response,
    method_not_allowed,
    not_found,
    not_readable,
    not_ready,
    service_stops,
    took_too_long,
)
from endpoint.fixed_buckets import ROUTES, FixedBuckets, Route
from endpoint.metrics_query import PATH as QUERY_PATH
from endpoint.metrics_query import MetricsQuery
from endpoint.rate_limit import RateLimiter
from endpoint.rendering import to_json
from endpoint.request_log import RequestLog, configure_logging
from endpoint.snapshots import NothingPublishedError, Snapshots, UnreadableError
from endpoint.time_limits import ServiceStopsError, TookTooLongError
from endpoint.turns import Turns, TurnsGivenBack
from msgmetrics import settings as environment
from msgmetrics.damage import REMEDY, is_damaged
from msgmetrics.keys import ApiKey, KeyStore
from msgmetrics.settings import Settings

_log = structlog.get_logger("endpoint")


class _PlainRoute(APIRoute):
    """A route whose endpoint takes the request itself: nothing is to be resolved for it.

    Errors go to the handlers of the app, which are around all routes.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        is_async = iscoroutinefunction(endpoint)
        answer = endpoint if is_async else partial(run_in_threadpool, endpoint)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await answer(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = app


class _Service(FastAPI):
    """The app with no more around its routes than they need."""

    def build_middleware_stack(self) -> ASGIApp:
        """What is added to the app, the handlers of errors, the routes.

        What nobody handles is RequestLog's affair. And what FastAPI has besides, for values that it
        resolves and for telemetry, no route here has a use for; each layer costs every request.
        """
        app: ASGIApp = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        for layer in reversed(self.user_middleware):
            app = layer.cls(app, *layer.args, **layer.kwargs)
        return app


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service over one installation; the environment says which if `settings` does not."""
    settings = settings or environment.settings()
    configure_logging()
    gate = Gate(
        KeyStore.of(settings),
        RateLimiter(settings.endpoint_dir / "rate_limit.sqlite", settings.rate_limit),
    )
    snapshots = Snapshots(settings)
    secret_path = settings.endpoint_dir / "secret"
    fixed_buckets = FixedBuckets(snapshots, Cursors(secret_path))
    queries = AggregateQueries(settings, snapshots)
    turns = Turns(settings.workers or 1)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        _end_with_supervisor()
        snapshots.watch()
        queries.worker.start(secret_of(secret_path))
        # What is there by now stays: the collector need not go through it again and again.
        gc.collect()
        gc.freeze()
        yield
        # What is left of questions after the time that requests are given to end.
        snapshots.stop_questions()
        await run_in_threadpool(queries.worker.close)
        await run_in_threadpool(turns.close)
        snapshots.close()

    app = _Service(
        title="msgmetrics",
        summary="Messaging metrics, read from the published snapshot.",
        version=version("msgmetrics"),
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.router.route_class = _PlainRoute
    app.state.turns = turns
    app.state.stop_questions = snapshots.stop_questions
    app.add_middleware(TurnsGivenBack)
    app.add_middleware(RequestLog)
    _add_error_handlers(app, settings.published_path)
    _add_health_routes(app, snapshots, (gate.check, queries.check))
    _add_service_metrics(app, settings.service_metrics)
    _add_query_routes(app, gate, turns, MetricsQuery(snapshots))
    _add_aggregate_routes(app, gate, turns, queries)
    for route in ROUTES:
        app.add_api_route(
            route.path,
            _fixed_buckets_endpoint(route, gate, turns, fixed_buckets),
            methods=["GET"],
            summary=route.title,
            operation_id=f"get_{route.name}",
            responses=documentation.FIXED_BUCKETS_RESPONSES,
            response_class=Response,
            openapi_extra={"parameters": documentation.fixed_buckets_parameters(route)}
            | documentation.BEARER,
            tags=["fixed time buckets"],
        )
    app.openapi = partial(_openapi, app)
    return app


def _end_with_supervisor() -> None:
    """Where this is one of several workers: end as if told to, once who started them is gone.

    Otherwise they would hold the port for ever after a kill of that process alone.
    """
    supervisor = parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="end-with-supervisor", daemon=True).start()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies and keys that no route's signature shows."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        document["components"]["schemas"].update(documentation.body_schemas())
        document["components"]["securitySchemes"] = documentation.SECURITY_SCHEMES
        app.openapi_schema = document
    return app.openapi_schema


def _fixed_buckets_endpoint(
    route: Route, gate: Gate, turns: Turns, fixed_buckets: FixedBuckets
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        key = await gate.admitted(request, scope="metrics:read")
        await turns.take(request, key.account_key)
        return await turns.run(fixed_buckets.answer, route, request, key)

    return endpoint


def _add_query_routes(app: FastAPI, gate: Gate, turns: Turns, metrics_query: MetricsQuery) -> None:
    async def query(request: Request) -> Response:
        key = await gate.admitted(request, scope="metrics:read")
        await turns.take(request, key.account_key)
        body = await read_body(request)
        return await turns.run(metrics_query.answer, request, body, key)

    def catalog(request: Request) -> Response:
        gate.admit(request, scope="metrics:read")
        return metrics_catalog.answer(request)

    app.add_api_route(
        QUERY_PATH,
        query,
        methods=["POST"],
        summary="Any metrics by any dimensions under any filter; JSON, CSV, Parquet or Arrow",
        operation_id="query_metrics",
        responses=documentation.QUERY_RESPONSES,
        response_class=Response,
        openapi_extra={
            "requestBody": documentation.body_of(
                "ExtendedQuestionBody", documentation.QUERY_EXAMPLES
            )
        }
        | documentation.BEARER,
        tags=["any question"],
    )
    app.add_api_route(
        metrics_catalog.PATH,
        catalog,
        methods=["GET"],
        summary="Metrics, dimensions and filters, and which go together on which channel",
        operation_id="get_catalog",
        responses=documentation.CATALOG_RESPONSES,
        response_class=Response,
        openapi_extra=documentation.BEARER,
        tags=["any question"],
    )


def _add_aggregate_routes(
    app: FastAPI, gate: Gate, turns: Turns, queries: AggregateQueries
) -> None:
    def admit(request: Request) -> ApiKey:
        return gate.admit(request, scope="metrics:manage", schemes=("App", "Bearer"))

    def admit_with_backlog(request: Request) -> ApiKey:
        key = admit(request)
        queries.check_backlog(key)
        return key

    async def query_aggregate_data(request: Request) -> Response:
        key = await run_in_threadpool(admit_with_backlog, request)
        await turns.take(request, key.account_key)
        body = await read_body(request)
        # No question is put to the data here, but a name may take its time to resolve.
        return await run_in_threadpool(queries.accept, request, body, key)

    def status(request: Request) -> Response:
        key = admit(request)
        return queries.status(request, request.path_params["requestId"], key)

    def result(request: Request) -> Response:
        key = admit(request)
        return queries.result(request, request.path_params["requestId"], key, time.time())

    app.add_api_route(
        QUERY_AGGREGATE_PATH,
        query_aggregate_data,
        methods=["POST"],
        summary="A question that is answered later: the result is sent to `callbackUrl`",
        operation_id="query_aggregate_data",
        status_code=201,
        responses=documentation.AGGREGATE_RESPONSES,
        response_class=Response,
        openapi_extra={
            "requestBody": documentation.body_of(
                "AggregateRequest", documentation.AGGREGATE_EXAMPLES
            )
        }
        | documentation.APP_OR_BEARER,
        tags=["aggregated data"],
    )
    for path, endpoint, summary, operation_id, responses in (
        (REQUEST_PATH, status, "What has become of a request",
         "get_request", documentation.REQUEST_RESPONSES),
        (RESULT_PATH, result, "What was sent to `callbackUrl`, for 24 hours",
         "get_request_result", documentation.RESULT_RESPONSES),
    ):  # fmt: skip
        app.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            summary=summary,
            operation_id=operation_id,
            responses=responses,
            response_class=Response,
            openapi_extra={"parameters": [documentation.REQUEST_ID_PARAMETER]}
            | documentation.APP_OR_BEARER,
            tags=["aggregated data"],
        )


def _add_health_routes(
    app: FastAPI, snapshots: Snapshots, checks: Sequence[Callable[[], None]]
) -> None:
    @app.get(
        "/healthz",
        tags=["health"],
        operation_id="healthz",
        summary="Whether the process answers",
        responses=documentation.HEALTH_RESPONSES,
        response_class=Response,
    )
    async def healthz(_: Request) -> Response:
        """The process answers; no thread is needed for it, as all may be at work."""
        return Response(to_json({"status": "ok"}), media_type="application/json")

    @app.get(
        "/readyz",
        tags=["health"],
        operation_id="readyz",
        summary="Whether a published snapshot is open, and keys and requests can be read",
        responses=documentation.READY_RESPONSES,
        response_class=Response,
    )
    def readyz(_: Request) -> Response:
        """A published snapshot can be read, and who asks can be found out."""
        for check in checks:
            check()
        with snapshots.current() as snapshot:
            body = {"status": "ready", "snapshot": snapshot.snapshot_id}
        return Response(to_json(body), media_type="application/json")


def _add_service_metrics(app: FastAPI, shown: str) -> None:
    @app.get(service_metrics.PATH, include_in_schema=False, response_class=Response)
    def internal_metrics(request: Request) -> Response:
        # Where they are not shown there is nothing to be seen of them.
        if not service_metrics.may_be_shown(request, shown):
            raise not_found()
        return service_metrics.exposition()


def _add_error_handlers(app: FastAPI, published: Path) -> None:
    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return error_response(request, error)

    @app.exception_handler(NothingPublishedError)
    async def nothing_published(request: Request, error: NothingPublishedError) -> Response:
        is_there = isinstance(error, UnreadableError)
        return error_response(request, damaged() if is_there else not_ready())

    @app.exception_handler(duckdb.Error)
    async def not_answered(request: Request, error: duckdb.Error) -> Response:
        # A block of the file may be damaged of which other questions read nothing.
        if not is_damaged(error):
            raise error
        _log.error(
            "published file damaged",
            file=str(published),
            reason=str(error).splitlines()[0],
            remedy=REMEDY,
        )
        return error_response(request, damaged())

    @app.exception_handler(sqlite3.Error)
    async def not_read(request: Request, error: sqlite3.Error) -> Response:
        _log.error(
            "file of keys or requests not read",
            reason=type(error).__name__,
            said=getattr(error, "sqlite_errorname", None),
        )
        return error_response(request, not_readable())

    @app.exception_handler(TookTooLongError)
    async def too_long(request: Request, error: TookTooLongError) -> Response:
        return error_response(request, took_too_long(error))

    @app.exception_handler(ServiceStopsError)
    async def stops(request: Request, _: ServiceStopsError) -> Response:
        return error_response(request, service_stops())

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return error_response(request, not_found())
        if error.status_code == 405:
            allow = (error.headers or {}).get("Allow")
            return error_response(request, method_not_allowed(allow))
        return error_response(
            request, ApiError(error.status_code, "INVALID_INPUT", "the request cannot be read")
        )
