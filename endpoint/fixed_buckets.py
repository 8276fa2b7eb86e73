"""Metrics in fixed time buckets: GET /v1/metrics/inbound and /v1/metrics/messages.

Both routes are rows of one table and differ in nothing else. The way of a request through this
module: read the parameters (400), settle them with the cursor, the plan and the size of the window
(422), then answer from the snapshot. Sums of published measures are taken here, over accounts and
within buckets; what a measure means was decided before it was published.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from endpoint.conditional import etag_of, holds
from endpoint.cursors import Cursors
from endpoint.errors import (
    ApiError,
    Violation,
    granularity_not_available,
    invalid_input,
    violation,
    window_too_large,
)
from endpoint.parameters import QueryString
from endpoint.rendering import timestamp, to_json
from endpoint.snapshots import Snapshot, SnapshotGoneError, Snapshots
from endpoint.windows import FIRST_SECOND, STEP_SECONDS, Window, moment_at, seconds_at
from msgmetrics.keys import ApiKey

MAX_BUCKETS = 10_000
DEFAULT_LIMIT = 1000
MAX_LIMIT = 5000
DEFAULT_SPAN_SECONDS = {"minute": 60 * 60, "hour": 24 * 3600, "day": 30 * 86400}
FINEST_BY_PLAN = {"free": "day", "growth": "hour", "scale": "minute"}

PARAMETERS = (
    "metric",
    "from",
    "to",
    "granularity",
    "group_by",
    "limit",
    "cursor",
    "compare_to",
)
COMPARISONS = ("prior_period",)

# Raised by one when answers or cursors change their form: ETags and cursors that were issued before
# must not fit any more.
_FORM = 1


@dataclass(frozen=True)
class Route:
    """One route of the family: what it calls itself, what it counts and by what it groups.

    `measures` maps a metric to its published column; `messages` is the column that says whether a
    group has a message of the route's direction.
    """

    name: str
    path: str
    title: str
    messages: str
    measures: dict[str, str]
    groupings: tuple[str, ...]


ROUTES = (
    Route(
        name="inbound",
        path="/v1/metrics/inbound",
        title="Messages that came in or their cost, by minute, hour or day",
        messages="messages_in",
        measures={"received": "messages_in", "cost_cents": "cost_cents_in"},
        groupings=("channel",),
    ),
    Route(
        name="outbound",
        path="/v1/metrics/messages",
        title="Sent, delivered or failed messages or their cost, by minute, hour or day",
        messages="messages_out",
        measures={
            "sent": "sent",
            "delivered": "delivered",
            "failed": "failed",
            "cost_cents": "cost_cents_out",
        },
        groupings=("channel", "error_code"),
    ),
)

# Granularity and grouping -> the published table with the fewest rows, its time column, and the
# start of the bucket that a row belongs to.
_BY_CHANNEL = {
    "minute": ("minutely", "period_start", "period_start"),
    "hour": ("hourly_by_channel", "period_start", "period_start"),
    "day": ("daily_by_channel", "period_start", "period_start"),
}
_BY_ERROR_CODE = {
    "minute": ("messages", "sent_at", "date_trunc('minute', sent_at)"),
    "hour": ("hourly_by_error_code", "period_start", "period_start"),
    "day": ("daily_by_error_code", "period_start", "period_start"),
}
_TABLES = {None: _BY_CHANNEL, "channel": _BY_CHANNEL, "error_code": _BY_ERROR_CODE}
_GROUP_COLUMNS = {"channel": "channel_code", "error_code": "error_code"}


@dataclass(frozen=True)
class Asked:
    """The parameters as they came, None where one was left out, and when. Times in seconds."""

    now_seconds: int
    metric: str | None
    from_seconds: int | None
    to_seconds: int | None
    granularity: str | None
    group_by: str | None
    limit: int | None
    cursor: str | None
    compare_to: str | None


@dataclass(frozen=True)
class Query:
    """One question with nothing left open; `position` is the first bucket of the page."""

    metric: str
    from_seconds: int
    to_seconds: int
    granularity: str
    group_by: str | None
    limit: int
    compare_to: str | None
    position: int = 0

    @property
    def window(self) -> Window:
        return Window.covering(STEP_SECONDS[self.granularity], self.from_seconds, self.to_seconds)


class FixedBuckets:
    """Answers the routes of this family."""

    def __init__(self, snapshots: Snapshots, cursors: Cursors) -> None:
        self._snapshots = snapshots
        self._cursors = cursors

    def answer(self, route: Route, request: Request, key: ApiKey) -> Response:
        """The response to a request that was let in. Raises ApiError, NothingPublishedError."""
        asked = read_parameters(route, request.scope["query_string"])
        with self._snapshots.current() as now:
            finest = FINEST_BY_PLAN.get(now.plan(key.account_key), "day")
            query, snapshot_id = self._settle(route, asked, key, finest, now.snapshot_id)
            with self._pinned(snapshot_id, now) as snapshot:
                _check(query, finest)
                # Rights are those of now, whatever snapshot the numbers come from.
                accounts = now.family(key.account_key)
                headers = {
                    "Cache-Control": "private, max-age=30",
                    "Vary": "Authorization",
                    "ETag": _etag(route, query, key, accounts, snapshot_id),
                }
                if holds(request.headers.getlist("if-none-match"), headers["ETag"]):
                    return Response(status_code=304, headers=headers)
                answer = _Answer(route, query, snapshot, accounts)
                body = {
                    "success": True,
                    "data": answer.data(),
                    "meta": answer.meta(self._next_cursor(route, query, key, snapshot_id)),
                }
                return Response(to_json(body), headers=headers, media_type="application/json")

    def _settle(
        self, route: Route, asked: Asked, key: ApiKey, finest: str, snapshot_id: str
    ) -> tuple[Query, str]:
        """The whole question and the snapshot that it is put to."""
        if asked.cursor is None:
            return _with_defaults(asked, finest), snapshot_id
        pinned = self._cursors.read(asked.cursor, _purpose(route), key.key_id)
        if pinned is None:
            raise _refused_cursor("not a cursor that this key was given on this route")
        snapshot_id = pinned.pop("snapshot_id")
        query = Query(**pinned)
        disagreeing = _disagreements(asked, query)
        if disagreeing:
            raise invalid_input(disagreeing, status=422)
        return query, snapshot_id

    @contextmanager
    def _pinned(self, snapshot_id: str, now: Snapshot) -> Iterator[Snapshot]:
        if snapshot_id == now.snapshot_id:
            yield now
            return
        try:
            with self._snapshots.earlier(snapshot_id) as snapshot:
                yield snapshot
        except SnapshotGoneError:
            raise _refused_cursor("its data snapshot is no longer held; ask anew") from None

    def _next_cursor(self, route: Route, query: Query, key: ApiKey, snapshot_id: str) -> str | None:
        following = query.position + query.limit
        if following >= query.window.count:
            return None
        pinned = asdict(query) | {"position": following, "snapshot_id": snapshot_id}
        return self._cursors.issue(_purpose(route), key.key_id, pinned)


def _purpose(route: Route) -> str:
    """What a cursor of this route is good for: one issued by another release is refused."""
    return f"{route.name}.{_FORM}"


def read_parameters(route: Route, raw: bytes) -> Asked:
    """The parameters of a query string. Raises ApiError 400 that tells every violation at once."""
    given = QueryString(raw, PARAMETERS)
    metric = given.choice("metric", tuple(route.measures))
    if "metric" not in given and "cursor" not in given:
        given.refuse("metric", "required")
    start, end, now = given.moment("from"), given.moment("to"), datetime.now(UTC)
    if start and end and start > end:
        given.refuse("from", "lies after to")
    elif start and start > now and "to" not in given and "cursor" not in given:
        given.refuse("from", "lies after to, which was left out and so is now")
    asked = Asked(
        now_seconds=seconds_at(now),
        metric=metric,
        from_seconds=None if start is None else seconds_at(start),
        to_seconds=None if end is None else seconds_at(end),
        granularity=given.choice("granularity", tuple(STEP_SECONDS)),
        group_by=given.choice("group_by", route.groupings),
        limit=given.whole_number("limit", 1, MAX_LIMIT),
        cursor=given.text("cursor"),
        compare_to=given.choice("compare_to", COMPARISONS),
    )
    if given.violations:
        raise invalid_input(given.violations)
    return asked


def _with_defaults(asked: Asked, finest: str) -> Query:
    coarse_first = list(reversed(STEP_SECONDS))
    granularity = asked.granularity or min("hour", finest, key=coarse_first.index)
    to_seconds = asked.now_seconds if asked.to_seconds is None else asked.to_seconds
    from_seconds = asked.from_seconds
    if from_seconds is None:
        # A default must not run off the calendar where `to` stands at its beginning.
        from_seconds = max(to_seconds - DEFAULT_SPAN_SECONDS[granularity], FIRST_SECOND)
    return Query(
        metric=str(asked.metric),
        from_seconds=from_seconds,
        to_seconds=to_seconds,
        granularity=granularity,
        group_by=asked.group_by,
        limit=asked.limit or DEFAULT_LIMIT,
        compare_to=asked.compare_to,
    )


def _disagreements(asked: Asked, query: Query) -> list[Violation]:
    pairs = {
        "metric": (asked.metric, query.metric),
        "from": (asked.from_seconds, query.from_seconds),
        "to": (asked.to_seconds, query.to_seconds),
        "granularity": (asked.granularity, query.granularity),
        "group_by": (asked.group_by, query.group_by),
        "limit": (asked.limit, query.limit),
        "compare_to": (asked.compare_to, query.compare_to),
    }
    return [
        violation(parameter, "disagrees with the cursor")
        for parameter, (given, pinned) in pairs.items()
        if given is not None and given != pinned
    ]


def _refused_cursor(problem: str) -> ApiError:
    return invalid_input([violation("cursor", problem)], status=422)


def _check(query: Query, finest: str) -> None:
    """Raise ApiError where the plan or the size of the window forbids a question."""
    if STEP_SECONDS[query.granularity] < STEP_SECONDS[finest]:
        raise granularity_not_available(finest)
    window = query.window
    if window.count > MAX_BUCKETS:
        raise window_too_large(window.count, MAX_BUCKETS)
    if query.compare_to:
        shift = window.count * window.step
        if query.from_seconds - shift < FIRST_SECOND or window.before().start() < FIRST_SECOND:
            raise invalid_input(
                [violation("compare_to", "the prior period would begin before year 1")]
            )


def _etag(route: Route, query: Query, key: ApiKey, accounts: list[str], snapshot_id: str) -> str:
    # Key and accounts are part of it: the body holds a cursor bound to the key and sums over the
    # accounts of now.
    return etag_of(_FORM, route.name, query, key.key_id, accounts, snapshot_id)


class _Answer:
    """The answer to one question from one snapshot, for a set of accounts."""

    def __init__(self, route: Route, query: Query, snapshot: Snapshot, accounts: list[str]) -> None:
        self._route = route
        self._query = query
        self._snapshot = snapshot
        self._accounts = accounts
        # A bucket ends on a whole second, so whether it is complete is the same without fractions.
        self._as_of_seconds = seconds_at(snapshot.as_of)

    def data(self) -> dict[str, Any]:
        query, window = self._query, self._query.window
        data: dict[str, Any] = {
            "metric": f"messages.{self._route.name}.{query.metric}",
            "granularity": query.granularity,
            "from": timestamp(query.from_seconds),
            "to": timestamp(query.to_seconds),
            "buckets": self._buckets(window.part(query.position, query.limit)),
        }
        if query.compare_to:
            prior = window.before()
            shift = window.count * window.step
            data["comparison"] = {
                "from": timestamp(query.from_seconds - shift),
                "to": timestamp(query.to_seconds - shift),
                "buckets": self._buckets(prior.part(query.position, query.limit)),
            }
            data["totals"] = self._totals(window, prior)
        return data

    def meta(self, next_cursor: str | None) -> dict[str, Any]:
        return {
            "as_of": timestamp(self._as_of_seconds),
            "limit": self._query.limit,
            "next_cursor": next_cursor,
            "snapshot": self._snapshot.snapshot_id,
            "stale": self._snapshot.stale,
        }

    def _buckets(self, page: Window) -> list[dict[str, Any]]:
        complete = page.complete(self._as_of_seconds)
        if self._query.group_by:
            member, none, found = "groups", [], self._groups(complete)
        else:
            member, none, found = "value", 0, self._values(complete)
        return [
            {
                "bucket_start": timestamp(page.start(position)),
                member: found.get(page.start(position), none)
                if position < complete.count
                else None,
            }
            for position in range(page.count)
        ]

    def _totals(self, window: Window, prior: Window) -> dict[str, Any]:
        # The prior buckets lie before the window's, so a position complete there is complete here.
        positions = window.complete(self._as_of_seconds).count
        value = self._total(window.part(0, positions))
        prior_value = self._total(prior.part(0, positions))
        change = float(Fraction(value) / Fraction(prior_value) - 1) if prior_value else None
        return {"value": value, "prior_value": prior_value, "change": change}

    def _total(self, window: Window) -> int | Decimal:
        rows = self._read(window, None, bucketed=False)
        return rows[0][0] or 0 if rows else 0

    def _values(self, window: Window) -> dict[int, int | Decimal]:
        return dict(self._read(window, None))

    def _groups(self, window: Window) -> dict[int, list[dict[str, Any]]]:
        group_by = str(self._query.group_by)
        groups: dict[int, list[dict[str, Any]]] = {}
        for start, group, value in self._read(window, group_by):
            groups.setdefault(start, []).append({group_by: group, "value": value})
        return groups

    def _read(self, window: Window, group_by: str | None, bucketed: bool = True) -> list[tuple]:
        """Sums of the metric's measure: one for each bucket, and group, that has a row."""
        if window.count == 0:
            return []
        query = self._query
        table, moment, start = _TABLES[group_by][query.granularity]
        measure = self._route.measures[query.metric]
        columns, grouping, having = [], [], ""
        if bucketed:
            columns.append(f"epoch_us({start}) // 1000000 as bucket_start")
            grouping.append("bucket_start")
        if group_by:
            columns.append(_GROUP_COLUMNS[group_by] + " as group_key")
            grouping.append("group_key")
            having = f"having sum({self._route.messages}) > 0 order by group_key nulls last"
        columns.append(f"sum({measure}) as value")
        clause = f"group by {', '.join(grouping)}" if grouping else ""
        return self._snapshot.rows(
            f"""
            select {", ".join(columns)}
            from {table}
            where {moment} >= ?
                and {moment} < ?::timestamp + to_seconds(?)
                and account_key in (select unnest(?::varchar[]))
            {clause} {having}
            """,
            [
                moment_at(window.start()).replace(tzinfo=None),
                # The end of the last bucket may lie beyond the last year a datetime can hold.
                moment_at(window.start(window.count - 1)).replace(tzinfo=None),
                window.step,
                self._accounts,
            ],
        )
