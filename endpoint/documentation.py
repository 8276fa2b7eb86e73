"""What /openapi.json and /docs say of parameters, answers and errors.

Words only: nothing here reads a request. The choices and bounds come from where they are enforced.
"""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from endpoint import fixed_buckets
from endpoint.windows import STEP_SECONDS

ExactNumber = Annotated[Decimal, WithJsonSchema({"type": "number"})]


class Group(BaseModel):
    """One group of a bucket, under the name of what was grouped by."""

    channel: str | None = Field(None, description="channel code, when grouped by channel")
    error_code: str | None = Field(None, description="error code, when grouped by error_code")
    value: ExactNumber


class Bucket(BaseModel):
    """One step of time. It has a value, or groups where group_by was asked."""

    bucket_start: str = Field(examples=["2026-05-05T00:00:00Z"])
    value: ExactNumber | None = Field(
        None, description="0: known to be nothing; null: not complete at meta.as_of"
    )
    groups: list[Group] | None = Field(
        None, description="groups with at least one message; null: not complete at meta.as_of"
    )


class Comparison(BaseModel):
    """The same number of buckets just before the window, position by position with the page."""

    from_: str = Field(alias="from")
    to: str
    buckets: list[Bucket]


class Totals(BaseModel):
    """Sums over the whole window, over positions that are complete in both periods."""

    value: ExactNumber
    prior_value: ExactNumber
    change: float | None = Field(description="value / prior_value - 1; null where prior_value is 0")


class FixedBucketsData(BaseModel):
    metric: str = Field(examples=["messages.inbound.received"])
    granularity: str
    from_: str = Field(alias="from")
    to: str
    buckets: list[Bucket]
    comparison: Comparison | None = None
    totals: Totals | None = None


class Meta(BaseModel):
    as_of: str = Field(description="what the answer knows of ends here")
    limit: int
    next_cursor: str | None = Field(description="null on the last page")
    snapshot: str = Field(description="id of the published snapshot")
    stale: bool = Field(description="true while messages arrive later than they should")


class FixedBucketsAnswer(BaseModel):
    success: bool = True
    data: FixedBucketsData
    meta: Meta


class ErrorBody(BaseModel):
    code: str = Field(examples=["UNAUTHORIZED"])
    message: str
    request_id: str = Field(description="ULID, the same as in X-Request-Id")
    details: dict[str, Any] | None = None


class ErrorAnswer(BaseModel):
    model_config = ConfigDict(title="Error")

    success: bool = False
    error: ErrorBody


FIXED_BUCKETS_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": FixedBucketsAnswer},
    304: {"description": "Not modified: the ETag in If-None-Match still holds"},
    400: {"model": ErrorAnswer, "description": "INVALID_INPUT, details.violations"},
    401: {"model": ErrorAnswer, "description": "UNAUTHORIZED"},
    403: {"model": ErrorAnswer, "description": "FORBIDDEN"},
    422: {
        "model": ErrorAnswer,
        "description": "INVALID_INPUT (cursor), GRANULARITY_NOT_AVAILABLE, WINDOW_TOO_LARGE",
    },
    429: {"model": ErrorAnswer, "description": "RATE_LIMITED, with Retry-After"},
    503: {"model": ErrorAnswer, "description": "NOT_READY: nothing is published yet"},
}


def fixed_buckets_parameters(route: fixed_buckets.Route) -> list[dict[str, Any]]:
    """The query parameters of a route of fixed buckets, as OpenAPI parameter objects."""
    moment = {"type": "string", "format": "date-time"}
    limit = {
        "type": "integer",
        "minimum": 1,
        "maximum": fixed_buckets.MAX_LIMIT,
        "default": fixed_buckets.DEFAULT_LIMIT,
    }
    return [
        _parameter("metric", _choice(route.measures), "Required unless a cursor is given."),
        _parameter(
            "from",
            moment,
            "ISO 8601 with offset. Default: 60 minutes, 24 hours or 30 days before `to`, by "
            "granularity.",
        ),
        _parameter("to", moment, "ISO 8601 with offset; its bucket is included. Default: now."),
        _parameter(
            "granularity",
            _choice(STEP_SECONDS),
            "Default: hour, or the finest that the account's plan has if that is coarser.",
        ),
        _parameter("group_by", _choice(route.groupings), "Split every bucket."),
        _parameter("limit", limit, "Buckets a page."),
        _parameter(
            "cursor",
            {"type": "string"},
            "meta.next_cursor of the page before. It holds all other parameters; they may be left "
            "out, and must not disagree with it.",
        ),
        _parameter(
            "compare_to",
            _choice(fixed_buckets.COMPARISONS),
            "Adds the period just before, and totals of both.",
        ),
    ]


def _choice(allowed: Any) -> dict[str, Any]:
    return {"type": "string", "enum": list(allowed)}


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}
