"""No key ever sees a number that contains a message of an account that is not its own or below.

Every account of a random tree has a number of messages that no sum of others can make: a power of
two. So each number in an answer says of itself whose messages it holds.
"""

import hmac
import json
import re
from itertools import combinations

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_by_hand import Installation, Message
from receiver import wait_until
from served import ASK, QUERY

from endpoint.app import create_app
from msgmetrics.settings import Settings

# Account, parent; with a loop that the published data would have cut, and a parent that is gone.
TREES = (
    {"r": None, "r1": "r", "r2": "r", "r11": "r1", "s": None, "s1": "s", "t": "gone"},
    {"r": None, "r1": "r11", "r11": "r", "r2": "s", "s": None, "s1": "r", "t": None},
)
ACCOUNTS = tuple(TREES[0])
WEIGHT = {account: 2**number for number, account in enumerate(ACCOUNTS)}
HOSTILE = ("gone", "nobody", "", "*", "%", "r%", "R", "r\0", "r' or '1'='1", "r,s", "acc*")
DAY = "2026-05-05"


def messages():
    """So many inbound messages in each of three hours as the account's weight, and as many out."""
    found = []
    for account, weight in WEIGHT.items():
        for hour in (1, 2, 3):
            for direction in ("INBOUND", "OUTBOUND"):
                sent = int(direction == "OUTBOUND")
                one = Message(f"{DAY}T{hour:02d}:10Z", account, direction, sent=sent)
                found += [one] * weight
    return found


def visible(tree, account):
    """The account and all below it."""
    found = {account}
    while True:
        more = {key for key, parent in tree.items() if parent in found} - found
        if not more:
            return found
        found |= more


def owners(number):
    """The accounts whose messages a number of one hour and direction holds."""
    return {account for account, weight in WEIGHT.items() if number & weight}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    settings = Settings(
        home=tmp_path_factory.mktemp("home"), rate_limit=10**6, callback_allow="127.0.0.1"
    )
    installation = Installation(settings)
    snapshots = []
    for tree in TREES:
        installation.accounts = [(key, parent, "scale") for key, parent in tree.items()]
        snapshots.append(installation.publish(messages(), f"{DAY}T12:00:00Z"))
    with TestClient(create_app(settings)) as client:
        keys = {
            account: installation.key(account, "metrics:read", "metrics:manage")
            for account in ACCOUNTS
        }
        yield client, keys, snapshots


# The rights of now are those of the tree that was published last, whatever snapshot is asked.
TREE = TREES[-1]
BUDGET = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
ANY_ACCOUNTS = st.lists(st.sampled_from(ACCOUNTS + HOSTILE), max_size=6)


@st.composite
def questions(draw):
    filters = {"sentSince": f"{DAY}T01:00:00Z", "sentUntil": f"{DAY}T02:00:00Z",
               "channelCodes": ["SMS"], "directions": ["INBOUND"]}  # fmt: skip
    asked = draw(st.none() | ANY_ACCOUNTS)
    if asked is not None:
        filters["accountKeys"] = asked
    filters["includeSubaccounts"] = draw(st.sampled_from((None, False, True, True)))
    by = draw(st.lists(st.sampled_from(["ACCOUNT_KEY", "HOUR", "DAY", "DIRECTION"]), unique=True))
    return {"filterBy": filters, "aggregateBy": by, "metrics": ["TOTAL_RECEIVED_TRAFFIC_COUNT"]}


def assert_rows_are_of(rows, columns, allowed):
    for row in rows:
        held = owners(row[-1])
        assert held
        assert held <= allowed
        if "ACCOUNT_KEY" in columns:
            assert held == {row[columns.index("ACCOUNT_KEY")]}


@BUDGET
@given(account=st.sampled_from(ACCOUNTS), question=questions(), data=st.data())
def test_a_question_counts_what_is_asked_and_visible_and_nothing_else(
    service, account, question, data
):
    client, keys, snapshots = service
    if data.draw(st.booleans()):
        question = question | {"snapshot": data.draw(st.sampled_from(snapshots))}
    if data.draw(st.booleans()):
        question = question | {"timezone": "Asia/Kolkata"}
        question["filterBy"] |= {"sentSince": f"{DAY}T00:30:00Z", "sentUntil": f"{DAY}T01:30:00Z"}
    response = client.post(
        QUERY, json=question, headers={"Authorization": f"Bearer {keys[account]}"}
    )
    assert response.status_code == 200, response.text
    told = response.json()["data"]
    columns = [column["columnName"] for column in told["columns"]]
    allowed = visible(TREE, account)
    assert_rows_are_of(told["rows"], columns, allowed)
    filters = question["filterBy"]
    asked = set(filters.get("accountKeys") or [account]) & allowed
    if filters["includeSubaccounts"]:
        asked = set().union(*(visible(TREE, key) for key in asked)) & allowed
    counted = set().union(*(owners(row[-1]) for row in told["rows"])) if told["rows"] else set()
    assert counted == asked & set(ACCOUNTS)


@BUDGET
@given(
    account=st.sampled_from(ACCOUNTS),
    route=st.sampled_from(["inbound?metric=received", "messages?metric=sent"]),
    more=st.sampled_from(["", "&group_by=channel", "&compare_to=prior_period", "&limit=1"]),
    granularity=st.sampled_from(["minute", "hour"]),
    accounts=ANY_ACCOUNTS,
)
def test_fixed_buckets_count_the_account_and_all_below_it(
    service, account, route, more, granularity, accounts
):
    client, keys, _ = service
    headers = {"Authorization": f"Bearer {keys[account]}"}
    url = f"/v1/metrics/{route}{more}&granularity={granularity}"
    url += f"&from={DAY}T01:10:00Z&to={DAY}T01:10:59Z"
    response = client.get(url, headers=headers)
    assert response.status_code == 200
    numbers = [int(n) for n in re.findall(r'"(?:value|prior_value)":(\d+)', response.text)]
    allowed = sum(WEIGHT[key] for key in visible(TREE, account))
    assert set(numbers) <= {0, allowed}
    assert allowed in numbers
    for name in ("account_key", "accountKeys", "account"):
        for other in accounts[:1]:
            refused = client.get(url, params={name: other, "metric": "x"}, headers=headers)
            assert refused.status_code == 400


def test_a_cursor_is_of_no_use_to_another_key_and_cannot_be_made(service):
    client, keys, _ = service
    url = f"/v1/metrics/inbound?metric=received&limit=1&from={DAY}T01:00:00Z&to={DAY}T03:00:00Z"

    def get(account, url):
        return client.get(url, headers={"Authorization": f"Bearer {keys[account]}"})

    cursor = get("r", url).json()["meta"]["next_cursor"]
    assert get("r", f"/v1/metrics/inbound?cursor={cursor}").status_code == 200
    for account in ACCOUNTS[1:]:
        assert get(account, f"/v1/metrics/inbound?cursor={cursor}").status_code == 422
    assert get("r", f"/v1/metrics/messages?cursor={cursor}").status_code == 422
    payload, signature = cursor.rsplit(".", 1)
    forged = [payload, f"{payload}.", f".{signature}", f"{payload}.{signature[::-1]}", "e30.e30"]
    forged += [f"{cursor[:i]}{'A' if cursor[i] != 'A' else 'B'}{cursor[i + 1:]}"
               for i in range(len(cursor))]  # fmt: skip
    for text in forged:
        assert get("r", f"/v1/metrics/inbound?cursor={text}").status_code == 422, text


def test_a_tag_of_another_keys_answer_does_not_hold(service):
    client, keys, _ = service
    url = f"/v1/metrics/inbound?metric=received&from={DAY}T01:00:00Z&to={DAY}T03:00:00Z"
    tags = {}
    for account, key in keys.items():
        tags[account] = client.get(url, headers={"Authorization": f"Bearer {key}"}).headers["ETag"]
    assert len(set(tags.values())) == len(ACCOUNTS)
    for one, other in combinations(ACCOUNTS, 2):
        headers = {"Authorization": f"Bearer {keys[one]}", "If-None-Match": tags[other]}
        assert client.get(url, headers=headers).status_code == 200


def test_asynchronous_answers_and_their_ids_are_the_accounts_own(service):
    client, keys, _ = service
    question = {
        "filterBy": {"sentSince": f"{DAY}T01:00:00Z", "sentUntil": f"{DAY}T02:00:00Z",
                     "channelCodes": ["SMS"], "includeSubaccounts": True,
                     "accountKeys": [*ACCOUNTS, *HOSTILE]},
        "aggregateBy": ["ACCOUNT_KEY"],
        "metrics": ["TOTAL_RECEIVED_TRAFFIC_COUNT"],
    }  # fmt: skip
    ids = {}
    for account, key in keys.items():
        body = {"callbackUrl": "http://127.0.0.1:9/", "request": question}
        headers = {"Authorization": f"App {key}"}
        ids[account] = client.post(ASK, json=body, headers=headers).json()["requestId"]

    def get(account, path):
        headers = {"Authorization": f"App {keys[account]}"}
        return client.get(f"/metrics/1/requests/{path}", headers=headers)

    for account, request_id in ids.items():
        wait_until(lambda a=account, i=request_id: get(a, i).json()["status"] == "SUCCESS")
        response = get(account, f"{request_id}/result").json()["response"]
        assert {row[1] for row in response["rows"]} == visible(TREE, account)
        assert_rows_are_of(
            response["rows"], ["CHANNEL_CODE", "ACCOUNT_KEY"], visible(TREE, account)
        )
        for other in set(ACCOUNTS) - {account}:
            for path in (request_id, f"{request_id}/result"):
                assert get(other, path).status_code == 404


def test_what_is_not_yours_takes_the_same_steps_as_what_is_not_there(service):
    client, keys, _ = service

    def answer(accounts):
        question = {
            "filterBy": {"sentSince": f"{DAY}T01:00:00Z", "sentUntil": f"{DAY}T02:00:00Z",
                         "accountKeys": accounts, "includeSubaccounts": True},
            "metrics": ["TOTAL_RECEIVED_TRAFFIC_COUNT"],
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {keys['t']}"}
        response = client.post(QUERY, json=question, headers=headers)
        told = {name: value for name, value in response.headers.items()
                if name not in ("x-request-id", "etag")}  # fmt: skip
        return response.status_code, told, json.loads(response.content)

    assert answer(["r"]) == answer(["nobody"]) == answer(["s1", "gone"])


def test_keys_are_compared_as_hashes_and_in_constant_time(service, monkeypatch):
    client, keys, _ = service
    compared = []
    real = hmac.compare_digest

    def watched(one, other):
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr("msgmetrics.keys.hmac.compare_digest", watched)
    key = keys["r"]
    url = "/v1/metrics/catalog"
    assert client.get(url, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert compared
    assert all(key not in pair for pair in compared)
    other = key[:-1] + ("x" if key[-1] != "x" else "y")
    assert client.get(url, headers={"Authorization": f"Bearer {other}"}).status_code == 401
