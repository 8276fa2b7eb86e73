"""GET /v1/metrics/catalog: metrics, dimensions and filters, and which go together.

All of it is read off the catalogue and the models of a question; nothing is stated anew.
"""

from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from endpoint.conditional import etag_of, holds
from endpoint.errors import invalid_input
from endpoint.parameters import QueryString
from endpoint.planning.planner import dimension_data_type, metric_data_type
from endpoint.planning.question import FilterBy, known_values
from endpoint.rendering import to_json
from msgmetrics.catalogue import Dimension, Metric, catalogue

PATH = "/v1/metrics/catalog"


def answer(request: Request) -> Response:
    """The response to a request that was let in. Raises ApiError."""
    given = QueryString(request.scope["query_string"], ())
    if given.violations:
        raise invalid_input(given.violations)
    body, etag = _body()
    headers = {"Cache-Control": "private, max-age=30", "Vary": "Authorization", "ETag": etag}
    if holds(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@cache
def _body() -> tuple[bytes, str]:
    body = to_json({"success": True, "data": catalog(), "meta": {}})
    return body, etag_of(body)


def catalog() -> dict[str, Any]:
    """What can be asked, as plain JSON values."""
    known = catalogue()
    return {
        "metrics": [_metric(metric) for metric in known.metrics.values()],
        "dimensions": [
            *(
                {
                    "name": time.name,
                    "description": time.description,
                    "dataType": "DATE_TIME",
                    "filter": None,
                    "metrics": list(known.metrics),
                }
                for time in known.time_dimensions.values()
            ),
            *(_dimension(dimension) for dimension in known.dimensions.values()),
        ],
        "filters": [_filter(name, schema) for name, schema in _filter_schemas().items()],
        "channels": [
            {
                "code": channel.channel_code,
                "name": channel.channel_name,
                "metrics": [
                    metric.name
                    for metric in known.metrics.values()
                    if channel.channel_code in metric.channels
                ],
            }
            for channel in known.channels.values()
        ],
        "timeBuckets": [
            {"name": bucket.name, "lowerSeconds": bucket.seconds}
            for bucket in known.time_buckets.values()
        ],
    }


def _metric(metric: Metric) -> dict[str, Any]:
    known = catalogue()
    dimensions = [*known.time_dimensions, *known.dimensions]
    return {
        "name": metric.name,
        "title": metric.title,
        "description": metric.description,
        "category": metric.category,
        "unit": metric.unit,
        "dataType": metric_data_type(metric),
        "numerator": list(metric.numerator),
        "denominator": list(metric.denominator),
        "channels": list(metric.channels),
        "dimensions": [name for name in dimensions if name != "URL" or metric.url],
    }


def _dimension(dimension: Dimension) -> dict[str, Any]:
    metrics = catalogue().metrics.values()
    return {
        "name": dimension.name,
        "description": dimension.description,
        "dataType": dimension_data_type(dimension),
        "filter": dimension.filter,
        "metrics": [m.name for m in metrics if dimension.name != "URL" or m.url],
    }


def _filter_schemas() -> dict[str, dict[str, Any]]:
    return FilterBy.model_json_schema(by_alias=True)["properties"]


def _filter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    by_filter = {d.filter: d.name for d in catalogue().dimensions.values() if d.filter}
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    (kind,) = kinds
    values = known_values().get(name)
    return {
        "name": name,
        "description": schema.get("description", ""),
        "type": kind["type"],
        "dimension": by_filter.get(name),
        "required": name in ("sentSince", "sentUntil"),
        "values": None if values is None else list(values),
    }
