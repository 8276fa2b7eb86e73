"""POST /v1/metrics/query: any question about metrics, answered at once.

Here are the members that this route has beyond a plain question (time zone, components, snapshot)
and the formats of its answer. What a question means is the planner's affair.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import duckdb
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from endpoint.asking import accounts_of, ask
from endpoint.bodies import UnusableBodyError, read_json
from endpoint.conditional import etag_of
from endpoint.errors import (
    invalid_input,
    too_many_rows,
    too_much_memory,
    violation,
    violations_of,
)
from endpoint.parameters import QueryString
from endpoint.planning.answer import Answer, TooManyRowsError
from endpoint.planning.periods import Period, requested_period
from endpoint.planning.question import (
    QUERY_ROUTE,
    WHOLE_BODY,
    InvalidQuestionError,
    Question,
    read_question,
)
from endpoint.planning.time_zones import Offsets, local_hours
from endpoint.rendering import timestamp, to_json
from endpoint.rows import arrow_stream, columns_of, csv_rows, json_rows, moment_text, parquet
from endpoint.snapshots import Snapshot, SnapshotGoneError, Snapshots
from endpoint.windows import seconds_at
from msgmetrics.keys import ApiKey

PATH = "/v1/metrics/query"

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
FORMATS = (JSON, CSV, PARQUET, ARROW)
# What is meant by those who take anything of a kind.
_OF_RANGES = {"*/*": JSON, "application/*": JSON, "text/*": CSV}

# Longer answers are sent while they are made.
_ROWS_AT_ONCE = 20_000
_FORM = 1

_MOST_KEPT_QUESTIONS = 1000
_LONGEST_KEPT_BODY = 4096


class MetricsQuery:
    """Answers the query route."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    def answer(self, request: Request, body: bytes | UnusableBodyError, key: ApiKey) -> Response:
        """The response to a request that was let in. Raises ApiError, NothingPublishedError."""
        question = _read(request, body)
        media_type = preferred_format(request.headers.getlist("accept"))
        with self._snapshots.current() as now, self._asked(question, now) as snapshot:
            # Rights are those of now, whatever snapshot the numbers come from.
            accounts = accounts_of(question, now, key.account_key)
            zone = ZoneInfo(question.time_zone) if question.time_zone else None
            period, offsets = _period(question, snapshot, zone)
            try:
                answer = ask(question, snapshot, accounts=accounts, period=period, offsets=offsets)
            except TooManyRowsError as error:
                raise too_many_rows(error) from None
            except duckdb.OutOfMemoryException:
                raise too_much_memory() from None
            headers = {
                "Cache-Control": "private, max-age=30",
                "Vary": "Authorization, Accept",
                "ETag": _etag(question, media_type, key, accounts, snapshot),
                "X-Msgmetrics-As-Of": timestamp(seconds_at(snapshot.as_of)),
                "X-Msgmetrics-Snapshot": snapshot.snapshot_id,
            }
            shown = _Shown(answer, period, zone, snapshot)
            return _response(shown, media_type, headers)

    @contextmanager
    def _asked(self, question: Question, now: Snapshot) -> Iterator[Snapshot]:
        if question.snapshot in (None, now.snapshot_id):
            yield now
            return
        try:
            with self._snapshots.earlier(question.snapshot) as snapshot:
                yield snapshot
        except SnapshotGoneError:
            problem = "is no snapshot that is held; leave it out to ask the current one"
            raise invalid_input([violation("snapshot", problem)], status=422) from None


def _read(request: Request, body: bytes | UnusableBodyError) -> Question:
    given = QueryString(request.scope["query_string"], ())
    found = list(given.violations)
    question, unlisted = None, 0
    try:
        question = _question(body)
    except UnusableBodyError as error:
        found.append(violation(WHOLE_BODY, error.problem))
    except InvalidQuestionError as error:
        found += violations_of(error)
        unlisted = error.unlisted
    if found or question is None:
        raise invalid_input(found, unlisted=unlisted)
    return question


def _question(body: bytes | UnusableBodyError) -> Question:
    """What a body asks. Raises UnusableBodyError, InvalidQuestionError."""
    if isinstance(body, bytes) and len(body) <= _LONGEST_KEPT_BODY:
        return _kept_question(body)
    return read_question(read_json(body), QUERY_ROUTE)


@lru_cache(maxsize=_MOST_KEPT_QUESTIONS)
def _kept_question(body: bytes) -> Question:
    """The same; what the bytes of a body mean never changes, and dashboards send them often."""
    return read_question(read_json(body), QUERY_ROUTE)


def _period(
    question: Question, snapshot: Snapshot, zone: ZoneInfo | None
) -> tuple[Period, Offsets | None]:
    since, until = question.since, question.until
    if zone is None:
        return requested_period(since, until, as_of=snapshot.as_of), None
    period = local_hours((since, until), as_of=snapshot.as_of, zone=zone)
    # Offsets matter where there are messages, and years without any are many.
    with_messages = (min(max(period[0], snapshot.first_hour), period[1]), period[1])
    return period, Offsets.over(zone, with_messages)


def preferred_format(accept: list[str]) -> str:
    """The media type that an Accept header likes best; JSON where it names none that there is."""
    best, liked = JSON, 0.0
    for stated in ",".join(accept).split(","):
        name, *parameters = (part.strip().lower() for part in stated.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            weighed = float(weight)
        except ValueError:
            continue
        name = _OF_RANGES.get(name, name)
        if name in FORMATS and liked < weighed <= 1:
            best, liked = name, weighed
    return best


def _etag(
    question: Question, media_type: str, key: ApiKey, accounts: list[str], snapshot: Snapshot
) -> str:
    return etag_of(_FORM, question, media_type, key.key_id, accounts, snapshot.snapshot_id)


class _Shown(NamedTuple):
    answer: Answer
    period: Period
    zone: ZoneInfo | None
    snapshot: Snapshot


def _response(shown: _Shown, media_type: str, headers: dict[str, str]) -> Response:
    answer = shown.answer
    if media_type == PARQUET:
        return Response(parquet(answer), headers=headers, media_type=media_type)
    if media_type == ARROW:
        return Response(arrow_stream(answer), headers=headers, media_type=media_type)
    if media_type == CSV:
        pieces = csv_rows(answer, zone=shown.zone)
    else:
        pieces = _json(shown, _meta(shown.snapshot))
    if answer.table.num_rows > _ROWS_AT_ONCE:
        return StreamingResponse(
            iterate_in_threadpool(pieces), headers=headers, media_type=media_type
        )
    return Response(b"".join(pieces), headers=headers, media_type=media_type)


def _json(shown: _Shown, meta: dict[str, Any]) -> Iterator[bytes]:
    data = {
        "requestedPeriod": {
            "sentSince": moment_text(shown.period[0], shown.zone),
            "sentUntil": moment_text(shown.period[1], shown.zone),
        },
        "totalRows": shown.answer.table.num_rows,
        "columns": columns_of(shown.answer),
    }
    yield b'{"success":true,"data":' + to_json(data)[:-1] + b',"rows":'
    yield from json_rows(shown.answer, missing=None, zone=shown.zone)
    yield b'},"meta":' + to_json(meta) + b"}"


def _meta(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "as_of": timestamp(seconds_at(snapshot.as_of)),
        "snapshot": snapshot.snapshot_id,
        "stale": snapshot.stale,
        "checks": {"passed": snapshot.checks_passed, "warned": snapshot.checks_warned},
    }
