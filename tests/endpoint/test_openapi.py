"""The OpenAPI document is true: its examples work, and clients that are made of it."""

import copy
import importlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from receiver import receiving, wait_until
from served import bearer, serving

from endpoint.asynchronous.ledger import Ledger


@pytest.fixture(scope="module")
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(tmp_path_factory, world):
    with serving(
        tmp_path_factory.mktemp("home"), world, RATE_LIMIT=100_000, CALLBACK_ALLOW="127.0.0.1"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def key(server):
    return server.installation.key("a", "metrics:read", "metrics:manage")


@pytest.fixture(scope="module")
def document(server):
    return server.http.get("/openapi.json").json()


def validate(document, schema, value):
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(
        value
    )


def test_every_route_is_documented_with_its_errors(document):
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        ("/v1/metrics/inbound", "get"),
        ("/v1/metrics/messages", "get"),
        ("/v1/metrics/query", "post"),
        ("/v1/metrics/catalog", "get"),
        ("/metrics/1/query-aggregate-data", "post"),
        ("/metrics/1/requests/{requestId}", "get"),
        ("/metrics/1/requests/{requestId}/result", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
    }
    for (path, _), operation in operations.items():
        if "metrics" in path:
            assert {"400", "401", "403", "405", "429"} <= set(operation["responses"]), path
            assert operation["security"], path
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(ids) == len(set(ids))


def test_every_example_of_a_body_is_answered_as_documented(server, key, document, receiver):
    examples = 0
    for path, methods in document["paths"].items():
        if "post" not in methods:
            continue
        operation = methods["post"]
        content = operation["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            examples += 1
            body = copy.deepcopy(example["value"])
            validate(document, content["schema"], body)
            if "callbackUrl" in body:
                body["callbackUrl"] = receiver.url
            response = server.http.post(path, json=body, headers=bearer(key))
            assert response.status_code in (200, 201), response.text
            told = operation["responses"][str(response.status_code)]["content"]
            validate(document, told["application/json"]["schema"], response.json())
    assert examples >= 3


def test_errors_and_answers_are_of_their_schemas(server, key, document, receiver):
    def told(method, path, status, **request):
        response = server.http.request(method.upper(), path, headers=bearer(key), **request)
        assert response.status_code == status
        route = path.split("?")[0]
        responses = document["paths"][route][method]["responses"]
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        validate(document, schema, response.json())

    told("get", "/v1/metrics/catalog", 200)
    told("get", "/v1/metrics/inbound?metric=received", 200)
    told("get", "/v1/metrics/inbound", 400)
    told("get", "/v1/metrics/inbound?metric=received&cursor=x", 422)
    told("post", "/v1/metrics/query", 400, content=b"{")
    told("post", "/metrics/1/query-aggregate-data", 400, content=b"{}")
    told("get", "/readyz", 200)


def shortened(value):
    """The document without limits of lists, and with the first values of long enumerations.

    Every value of them is asked for elsewhere; here a thousand more requests would do it again.
    """
    if isinstance(value, list):
        return [shortened(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: shortened(one) for name, one in value.items() if name != "maxItems"}
    values = kept.get("enum")
    return kept | {"enum": values[:4]} if isinstance(values, list) and len(values) > 8 else kept


def test_schemathesis_finds_nothing(server, key, receiver, document, tmp_path):
    here = Path(__file__).parent
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(shortened(document)), "utf-8")
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run",
            str(described), "--url", server.url, "-H", f"Authorization: Bearer {key}",
            "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful",
            "--max-examples", "10", "--seed", "1", "--no-color",
            "--suppress-health-check", "all",
        ],
        env=os.environ
        | {
            "SCHEMATHESIS_HOOKS": "valid_together",
            "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
            "CALLBACK_URL": receiver.url,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 9" in run.stdout
    # It leaves more behind than a slow machine answers while the next test waits.
    ledger = Ledger(server.installation.settings.endpoint_dir / "requests.sqlite")
    wait_until(lambda: not ledger.waiting_for_answers(), seconds=600)
    ledger.close()
    assert '"status": 500' not in server.log()
    assert "Traceback" not in server.log()


@pytest.fixture(scope="module")
def client_package(server, tmp_path_factory):
    """A client in Python that openapi-python-client makes of the document that is served."""
    folder = tmp_path_factory.mktemp("client")
    subprocess.run(
        [
            str(Path(sys.executable).with_name("openapi-python-client")), "generate",
            "--url", f"{server.url}/openapi.json", "--meta", "none",
            "--output-path", str(folder / "generated_client"),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    sys.path.insert(0, str(folder))
    yield "generated_client"
    sys.path.remove(str(folder))


def test_a_generated_client_asks_the_second_family(server, key, receiver, client_package):
    def part(name):
        return importlib.import_module(f"{client_package}.{name}")

    models = part("models")
    client = part("client").AuthenticatedClient(base_url=server.url, token=key, prefix="App")
    request = models.AggregateRequest(
        callback_url=receiver.url,
        request=models.QuestionBody(
            filter_by=models.AggregateFilterBy(
                sent_since=datetime(2024, 3, 1, tzinfo=UTC),
                sent_until=datetime(2024, 5, 1, tzinfo=UTC),
                channel_codes=[models.AggregateFilterByChannelCodesItem.SMS],
                include_subaccounts=True,
            ),
            aggregate_by=[models.QuestionBodyAggregateByType0Item.MONTH],
            metrics=[models.QuestionBodyMetricsItem.TOTAL_SENT_TRAFFIC_COUNT],
        ),
    )
    accepted = part("api.aggregated_data.query_aggregate_data").sync(client=client, body=request)
    assert isinstance(accepted, models.AcceptedAnswer)
    of_request = part("api.aggregated_data.get_request")

    def status():
        return of_request.sync(accepted.request_id, client=client).status.value

    wait_until(lambda: status() != "IN_PROGRESS")
    assert status() == "SUCCESS", server.log()
    result = part("api.aggregated_data.get_request_result").sync(accepted.request_id, client=client)
    assert isinstance(result, models.RequestResult)
    rows = result.response.rows
    assert [row[1] for row in rows] == [
        "2024-03-01T00:00:00.000+0000", "2024-04-01T00:00:00.000+0000",
    ]  # fmt: skip
    assert receiver.wait_for(accepted.request_id)["response"]["rows"] == rows
    refused = part("api.aggregated_data.query_aggregate_data").sync(
        client=part("client").AuthenticatedClient(base_url=server.url, token="x", prefix="App"),
        body=request,
    )
    assert isinstance(refused, models.AggregateError)
    assert refused.error_code == "E401"
