"""What /openapi.json and /docs say of parameters, bodies, answers and errors, with examples.

Words only: nothing here reads a request. The choices and bounds come from where they are enforced.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import models_json_schema

from endpoint import fixed_buckets, metrics_query
from endpoint.asynchronous.addresses import MAX_URL_LENGTH
from endpoint.planning.question import OTHER_SPELLINGS, ExtendedQuestionBody, QuestionBody
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


class RequestedPeriod(BaseModel):
    """The period that was used, (inclusive, exclusive)."""

    sentSince: str = Field(examples=["2026-05-05T00:00:00.000+0000"])  # noqa: N815
    sentUntil: str = Field(examples=["2026-05-06T00:00:00.000+0000"])  # noqa: N815


class ColumnHead(BaseModel):
    model_config = ConfigDict(title="Column")

    columnName: str  # noqa: N815
    columnDataType: Literal["STRING", "INTEGER", "NUMBER", "BOOLEAN", "DATE_TIME"]  # noqa: N815


class QueryData(BaseModel):
    """Rows in columns, sorted by the dimensions."""

    requestedPeriod: RequestedPeriod  # noqa: N815
    totalRows: int  # noqa: N815
    columns: list[ColumnHead]
    rows: list[list[str | int | float | None]]


class Checks(BaseModel):
    """How many checks of the snapshot passed, and how many warned."""

    passed: int
    warned: int


class QueryMeta(BaseModel):
    as_of: str = Field(description="what the answer knows of ends here")
    snapshot: str = Field(description="id of the published snapshot")
    stale: bool = Field(description="true while messages arrive later than they should")
    checks: Checks


class QueryAnswer(BaseModel):
    success: bool = True
    data: QueryData
    meta: QueryMeta


class CatalogAnswer(BaseModel):
    success: bool = True
    data: dict[str, list[dict[str, Any]]] = Field(
        description="metrics, dimensions, filters, channels and timeBuckets"
    )
    meta: dict[str, Any]


class HealthAnswer(BaseModel):
    status: str
    snapshot: str | None = None


class AcceptedAnswer(BaseModel):
    requestId: str  # noqa: N815


class RequestStatus(BaseModel):
    requestId: str  # noqa: N815
    status: Literal["IN_PROGRESS", "SUCCESS", "FAILED"]
    failureMessage: str | None = Field(  # noqa: N815
        None, description="why it failed, where it did"
    )


class RequestResult(BaseModel):
    """What is sent to the callback address, and kept for a day."""

    requestId: str  # noqa: N815
    status: Literal["SUCCESS", "FAILED"]
    response: QueryData | None = None
    failureMessage: str | None = None  # noqa: N815


class PropertyViolation(BaseModel):
    property: str = Field(examples=["request.filterBy.channelCodes[0]"])
    violation: str


class AggregateError(BaseModel):
    errorCode: str = Field(examples=["E400"])  # noqa: N815
    description: str
    action: str
    violations: list[PropertyViolation]
    resources: list[Any]


_ENVELOPE_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "INVALID_INPUT, details.violations"},
    401: {"model": ErrorAnswer, "description": "UNAUTHORIZED"},
    403: {"model": ErrorAnswer, "description": "FORBIDDEN"},
    405: {"model": ErrorAnswer, "description": "METHOD_NOT_ALLOWED, with Allow"},
    429: {"model": ErrorAnswer, "description": "RATE_LIMITED, with Retry-After"},
}
_NOT_READY = {"model": ErrorAnswer, "description": "NOT_READY: nothing is published yet"}
_NO_ANSWER_NOW = {
    "model": ErrorAnswer,
    "description": "NOT_READY: nothing is published yet, or the service is being stopped (with "
    "Retry-After); TIMEOUT: the question took too long",
}
_NOT_MODIFIED = {"description": "Not modified: the ETag in If-None-Match still holds"}

FIXED_BUCKETS_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": FixedBucketsAnswer},
    304: _NOT_MODIFIED,
    **_ENVELOPE_ERRORS,
    422: {
        "model": ErrorAnswer,
        "description": "INVALID_INPUT (cursor), GRANULARITY_NOT_AVAILABLE, WINDOW_TOO_LARGE",
    },
    503: _NO_ANSWER_NOW,
}

_BINARY = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}

QUERY_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": QueryAnswer,
        "description": "The rows, in the format that Accept likes best",
        "content": {
            metrics_query.CSV: {"schema": {"type": "string"}},
            metrics_query.PARQUET: _BINARY,
            metrics_query.ARROW: _BINARY,
        },
        "headers": {
            "X-Msgmetrics-As-Of": {"schema": {"type": "string"}},
            "X-Msgmetrics-Snapshot": {"schema": {"type": "string"}},
        },
    },
    **_ENVELOPE_ERRORS,
    422: {"model": ErrorAnswer, "description": "INVALID_INPUT (snapshot), TOO_MANY_ROWS"},
    503: _NO_ANSWER_NOW,
}
CATALOG_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": CatalogAnswer},
    304: _NOT_MODIFIED,
    **_ENVELOPE_ERRORS,
}
HEALTH_RESPONSES: dict[int | str, dict[str, Any]] = {200: {"model": HealthAnswer}}
READY_RESPONSES: dict[int | str, dict[str, Any]] = {**HEALTH_RESPONSES, 503: _NOT_READY}

_AGGREGATE_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": AggregateError, "description": "E400, with every violation"},
    401: {"model": AggregateError, "description": "E401"},
    403: {"model": AggregateError, "description": "E403"},
    405: {"model": AggregateError, "description": "E405, with Allow"},
    429: {"model": AggregateError, "description": "E429, with Retry-After"},
}
_NO_SUCH_REQUEST = {"model": AggregateError, "description": "E404"}

AGGREGATE_RESPONSES: dict[int | str, dict[str, Any]] = {
    201: {
        "model": AcceptedAnswer,
        "description": "Accepted: the result is sent to callbackUrl",
        "links": {
            name: {"operationId": name, "parameters": {"requestId": "$response.body#/requestId"}}
            for name in ("get_request", "get_request_result")
        },
    },
    **_AGGREGATE_ERRORS,
    503: {"model": AggregateError, "description": "E503: nothing is published yet"},
}
REQUEST_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": RequestStatus},
    **_AGGREGATE_ERRORS,
    404: _NO_SUCH_REQUEST,
}
RESULT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": RequestResult},
    **_AGGREGATE_ERRORS,
    404: {**_NO_SUCH_REQUEST, "description": "E404: also while it is in progress"},
}

REQUEST_ID_PARAMETER = {
    "name": "requestId",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"},
    "description": "The id that the request was accepted with.",
}

_PERIOD_EXAMPLE = {
    "sentSince": "2026-05-05T00:00:00.000+0000",
    "sentUntil": "2026-05-06T00:00:00.000+0000",
}
# What the examples ask is asked by a test.
QUERY_EXAMPLES: dict[str, dict[str, Any]] = {
    "delivery by day and country": {
        "value": {
            "filterBy": {**_PERIOD_EXAMPLE, "channelCodes": ["SMS", "WHATSAPP"]},
            "aggregateBy": ["DAY", "COUNTRY_NAME"],
            "metrics": ["TRAFFIC_DELIVERY_RATE", "TOTAL_COST_CENTS"],
        }
    },
    "opens of email in local time, with what the rates are made of": {
        "value": {
            "filterBy": {
                **_PERIOD_EXAMPLE,
                "channelCodes": ["EMAIL"],
                "includeSubaccounts": True,
                "directions": ["OUTBOUND"],
                "timeToDeliver": [{"from": "SECONDS_0", "to": "MINUTES_1"}],
            },
            "aggregateBy": ["WEEK_MONDAY_START", "SENDER_DOMAIN"],
            "metrics": ["SEEN_OPENED_TRAFFIC_RATE", "CLICK_TO_OPEN_RATE"],
            "timezone": "Europe/Zagreb",
            "includeComponents": True,
        }
    },
}
AGGREGATE_EXAMPLES: dict[str, dict[str, Any]] = {
    "failures by network": {
        "value": {
            "callbackUrl": "https://example.com/metrics",
            "request": {
                "filterBy": {**_PERIOD_EXAMPLE, "channelCodes": ["SMS"]},
                "aggregateBy": ["HOUR", "NETWORK_NAME", "ERROR_GROUP"],
                "metrics": ["TOTAL_SENT_TRAFFIC_COUNT", "FAILED_TRAFFIC_COUNT"],
            },
        }
    }
}


def body_of(schema: str, examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The requestBody of a route whose body has one of `body_schemas`."""
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": examples}
    return {"required": True, "content": {"application/json": content}}


def body_schemas() -> dict[str, Any]:
    """The schemas of bodies, by name. They leave out the second spellings that are taken too."""
    _, told = models_json_schema(
        [(QuestionBody, "validation"), (ExtendedQuestionBody, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    schemas = told["$defs"]
    for name in ("QuestionBody", "ExtendedQuestionBody"):
        members = schemas[name]["properties"]
        members["metrics"]["uniqueItems"] = True
        members["aggregateBy"]["anyOf"][0]["uniqueItems"] = True
    filters = schemas["FilterBy"]
    for spelling in OTHER_SPELLINGS:
        del filters["properties"][spelling]
    channels = filters["properties"]["channelCodes"]["anyOf"][0]
    channels["minItems"] = 1
    # The one family needs a channel, the other does not.
    schemas["AggregateFilterBy"] = {
        **filters,
        "title": "AggregateFilterBy",
        "properties": {**filters["properties"], "channelCodes": channels},
        "required": [*filters["required"], "channelCodes"],
    }
    # No duration is below the first bucket.
    ends = schemas["TimeSpan"]["properties"]["to"]["anyOf"][0]
    ends["enum"] = ends["enum"][1:]
    schemas["QuestionBody"]["properties"]["filterBy"] = {
        "$ref": "#/components/schemas/AggregateFilterBy"
    }
    schemas["AggregateRequest"] = {
        "title": "AggregateRequest",
        "type": "object",
        "additionalProperties": False,
        "required": ["callbackUrl", "request"],
        "properties": {
            "callbackUrl": {
                "type": "string",
                "format": "uri",
                "maxLength": MAX_URL_LENGTH,
                "description": "Public http or https address that the result is sent to.",
            },
            "request": {"$ref": "#/components/schemas/QuestionBody"},
        },
    }
    return schemas


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
            {"type": "string", "minLength": 1},
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


# The gate judges keys. Were these dependencies of the routes, the framework would resolve them at
# every request, for the document alone.
SECURITY_SCHEMES = {
    "HTTPBearer": {
        "type": "http",
        "description": "API key with scope metrics:read below /v1, metrics:manage below /metrics/1",
        "scheme": "bearer",
    },
    "App": {
        "type": "apiKey",
        "description": "the word App, a blank, and an API key with scope metrics:manage",
        "in": "header",
        "name": "Authorization",
    },
}
BEARER: dict[str, Any] = {"security": [{"HTTPBearer": []}]}
APP_OR_BEARER: dict[str, Any] = {"security": [{"App": []}, {"HTTPBearer": []}]}
