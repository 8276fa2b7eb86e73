"""GET /v1/metrics/catalog: all that can be asked, and which of it goes together."""

import pytest
from reference.metrics import ALL, METRICS, URL_METRICS
from served import bearer

from endpoint.planning.question import FilterBy
from msgmetrics.catalogue import catalogue

CATALOG = "/v1/metrics/catalog"


@pytest.fixture
def told(installation, client_of):
    key = installation.key()
    response = client_of(installation).get(CATALOG, headers=bearer(key))
    assert response.status_code == 200
    assert set(response.json()) == {"success", "data", "meta"}
    return response.json()["data"]


def test_metrics_are_there_with_the_channels_that_have_them(told):
    metrics = {metric["name"]: metric for metric in told["metrics"]}
    assert set(metrics) == set(METRICS)
    for name, metric in METRICS.items():
        assert set(metrics[name]["channels"]) == metric.channels
        is_count = not metric.is_rate and name != "TOTAL_COST_CENTS"
        assert metrics[name]["dataType"] == ("INTEGER" if is_count else "NUMBER")
    channels = {channel["code"]: channel["metrics"] for channel in told["channels"]}
    assert set(channels) == ALL
    for code, names in channels.items():
        assert set(names) == {name for name, metric in METRICS.items() if code in metric.channels}


def test_the_dimension_url_goes_with_its_three_metrics_alone(told):
    for metric in told["metrics"]:
        assert ("URL" in metric["dimensions"]) == (metric["name"] in URL_METRICS)
    for dimension in told["dimensions"]:
        of_urls = dimension["name"] == "URL"
        assert set(dimension["metrics"]) == (set(URL_METRICS) if of_urls else set(METRICS))


def test_all_34_dimensions_and_every_filter_are_there(told):
    names = [dimension["name"] for dimension in told["dimensions"]]
    assert len(names) == len(set(names)) == 34
    filters = {found["name"]: found for found in told["filters"]}
    assert set(filters) == {field.alias for field in FilterBy.model_fields.values()}
    assert filters["channelCodes"]["values"] == list(catalogue().channels)
    assert filters["senders"]["values"] is None
    assert [name for name, one in filters.items() if one["required"]] == ["sentSince", "sentUntil"]
    of_dimensions = {d["filter"] for d in told["dimensions"] if d["filter"]}
    assert of_dimensions == {name for name, one in filters.items() if one["dimension"]}
    assert told["timeBuckets"][0] == {"name": "SECONDS_0", "lowerSeconds": 0}


def test_the_catalogue_needs_no_snapshot_and_is_kept_by_its_tag(installation, client_of):
    client, key = client_of(installation), installation.key()
    first = client.get(CATALOG, headers=bearer(key))
    assert first.headers["Cache-Control"] == "private, max-age=30"
    again = client.get(CATALOG, headers=bearer(key) | {"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    refused = client.get(f"{CATALOG}?metric=x", headers=bearer(key))
    assert refused.status_code == 400
    assert client.get(CATALOG).status_code == 401
