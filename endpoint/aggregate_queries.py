"""Queries of aggregated data: POST /metrics/1/query-aggregate-data, and what has become of them.

Here requests are taken and told of; they are answered in asynchronous/.
"""

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from ulid import ULID

from endpoint.asynchronous.addresses import (
    AllowedTargets,
    RefusedAddressError,
    refuse_at_once,
    target_of,
)
from endpoint.asynchronous.ledger import IN_PROGRESS, RESULT_SECONDS, AcceptedRequest, Ledger
from endpoint.asynchronous.results import Results
from endpoint.asynchronous.worker import Worker
from endpoint.bodies import UnusableBodyError, read_json
from endpoint.errors import (
    Violation,
    invalid_input,
    no_such_request,
    rate_limited,
    violation,
    violations_of,
)
from endpoint.parameters import QueryString
from endpoint.planning.question import (
    AGGREGATE_ROUTE,
    MOST_VIOLATIONS,
    WHOLE_BODY,
    InvalidQuestionError,
    read_question,
)
from endpoint.rendering import to_json
from endpoint.snapshots import Snapshots
from msgmetrics.keys import ApiKey
from msgmetrics.settings import Settings

QUERY_PATH = "/metrics/1/query-aggregate-data"
REQUEST_PATH = "/metrics/1/requests/{requestId}"
RESULT_PATH = "/metrics/1/requests/{requestId}/result"

# What one account may have waiting, for its answer or its callback: nobody fills the disk or the
# queue with what cannot be got rid of.
MOST_OPEN = 1000
_RETRY_SECONDS = 10
_PIECE_BYTES = 64 * 1024
_HEADERS = {"Cache-Control": "no-store"}


class AggregateQueries:
    """Answers the routes of this family."""

    def __init__(self, settings: Settings, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._ledger = Ledger(settings.endpoint_dir / "requests.sqlite")
        self._results = Results(settings.endpoint_dir / "results")
        self._allowed = AllowedTargets.of(settings.callback_allow)
        self.worker = Worker(settings, snapshots, self._ledger, self._results)
        self.check = self._ledger.check

    def check_backlog(self, key: ApiKey) -> None:
        """Raise ApiError 429 where the key's account has too many requests waiting."""
        if self._ledger.open_of(key.account_key) >= MOST_OPEN:
            raise rate_limited(_RETRY_SECONDS)

    def accept(self, request: Request, body: bytes | UnusableBodyError, key: ApiKey) -> Response:
        """201 with the id of a request that was let in. Raises ApiError, NothingPublishedError."""
        callback_url, question = self._read(request, body)
        with self._snapshots.current() as snapshot:
            snapshot_id = snapshot.snapshot_id
        request_id = str(ULID())
        self._ledger.accept(request_id, key.account_key, question, callback_url, snapshot_id)
        self.worker.enqueue(request_id)
        return _json({"requestId": request_id}, status_code=201)

    def status(self, request: Request, request_id: str, key: ApiKey) -> Response:
        """What has become of a request of the key's account. Raises ApiError."""
        found = self._find(request, request_id, key)
        told = {"requestId": found.request_id, "status": found.status}
        if found.failure_message is not None:
            told["failureMessage"] = found.failure_message
        return _json(told)

    def result(self, request: Request, request_id: str, key: ApiKey, now: float) -> Response:
        """The body that the callback carries, for a day. now: seconds since 1970."""
        found = self._find(request, request_id, key)
        path = self._results.path(found.request_id)
        is_over = found.ended_at is None or now - found.ended_at > RESULT_SECONDS
        if found.status == IN_PROGRESS or is_over:
            raise no_such_request()
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise no_such_request() from None
        headers = _HEADERS | {"Content-Length": str(os.fstat(file.fileno()).st_size)}
        return StreamingResponse(_pieces(file), headers=headers, media_type="application/json")

    def _find(self, request: Request, request_id: str, key: ApiKey) -> AcceptedRequest:
        given = QueryString(request.scope["query_string"], ())
        if given.violations:
            raise invalid_input(given.violations)
        # Not there and not this account's are one answer.
        found = self._ledger.find(request_id, key.account_key)
        if found is None:
            raise no_such_request()
        return found

    def _read(self, request: Request, body: bytes | UnusableBodyError) -> tuple[str, str]:
        """The callback's URL, and the question as JSON. Raises ApiError 400."""
        found = list(QueryString(request.scope["query_string"], ()).violations)
        try:
            asked = read_json(body)
        except UnusableBodyError as error:
            raise invalid_input([*found, violation(WHOLE_BODY, error.problem)]) from None
        if not isinstance(asked, dict):
            raise invalid_input([*found, violation(WHOLE_BODY, "must be an object")])
        found += self._url_violations(asked)
        unlisted = 0
        if "request" not in asked:
            found.append(violation("request", "is required"))
        else:
            try:
                read_question(asked["request"], AGGREGATE_ROUTE, prefix="request")
            except InvalidQuestionError as error:
                found += violations_of(error)
                unlisted = error.unlisted
        unknown = [name for name in asked if name not in ("callbackUrl", "request")]
        found += [
            violation(name.encode("utf-8", "backslashreplace").decode(), "is not known here")
            for name in unknown[:MOST_VIOLATIONS]
        ]
        unlisted += len(unknown[MOST_VIOLATIONS:])
        if found:
            raise invalid_input(found, unlisted=unlisted)
        return asked["callbackUrl"], to_json(asked["request"]).decode()

    def _url_violations(self, asked: dict[str, Any]) -> list[Violation]:
        if "callbackUrl" not in asked:
            return [violation("callbackUrl", "is required")]
        url = asked["callbackUrl"]
        if not isinstance(url, str):
            return [violation("callbackUrl", "must be a text")]
        try:
            refuse_at_once(target_of(url), self._allowed)
        except RefusedAddressError as error:
            return [violation("callbackUrl", str(error))]
        return []


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _json(body: dict[str, Any], status_code: int = 200) -> Response:
    return Response(
        to_json(body), status_code=status_code, headers=_HEADERS, media_type="application/json"
    )
