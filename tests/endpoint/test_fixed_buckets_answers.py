"""What the fixed-bucket routes answer: numbers, pages, comparison, who sees what."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_by_hand import Installation, Message

from msgmetrics.settings import Settings

INBOUND = "/v1/metrics/inbound"
MESSAGES = "/v1/metrics/messages"
AS_OF = "2026-05-05T23:59:43Z"


def ask(client, key, path, **parameters):
    return client.get(
        path,
        params={name.rstrip("_"): value for name, value in parameters.items()},
        headers={"Authorization": f"Bearer {key}"},
    )


def answer(client, key, path, **parameters):
    response = ask(client, key, path, **parameters)
    assert response.status_code == 200, response.text
    return json.loads(response.content, parse_float=Decimal)


def values(body):
    return [bucket["value"] for bucket in body["data"]["buckets"]]


@pytest.fixture
def small(installation, client_of):
    """Hours 0 to 2 of 5 May, complete up to 02:30."""
    messages = [
        Message("2026-05-05T00:10Z", cost_cents=Decimal("0.100000")),
        Message("2026-05-05T00:59:59.999999Z", cost_cents=Decimal("0.200001"), channel_code="RCS"),
        Message("2026-05-05T01:00Z", account_key="acme-eu-shop", cost_cents=Decimal("100")),
        Message("2026-05-05T00:30Z", account_key="rival"),
        Message("2026-05-05T02:10Z"),
        out("2026-05-05T00:10Z", delivered=1, cost_cents=Decimal("7.500000")),
        out("2026-05-05T00:20Z", failed=1, error_code="EC_ABSENT_SUBSCRIBER"),
        out("2026-05-05T00:20Z", failed=1, sent=0, channel_code="EMAIL", error_code="EC_BOUNCE"),
        out("2026-05-05T01:20Z", delivered=1, account_key="rival"),
    ]
    installation.publish(messages, "2026-05-05T02:30:00Z")
    return client_of(installation), installation


def out(sent_at, sent=1, **members):
    return Message(sent_at, direction="OUTBOUND", sent=sent, **members)


def test_the_published_example_of_the_source(installation, client_of):
    hours = {0: 14, 1: 9, 5: 3}
    messages = [
        Message(f"2026-05-05T{hour:02d}:30Z") for hour, n in hours.items() for _ in range(n)
    ]
    snapshot_id = installation.publish(messages, AS_OF)
    body = answer(
        client_of(installation),
        installation.key(),
        INBOUND,
        metric="received",
        from_="2026-05-05T00:00:00Z",
        to="2026-05-06T00:00:00Z",
    )
    # The hour from 23:00 has not ended at as_of either.
    buckets = [
        {
            "bucket_start": f"2026-05-05T{hour:02d}:00:00Z",
            "value": hours.get(hour, 0) if hour < 23 else None,
        }
        for hour in range(24)
    ] + [{"bucket_start": "2026-05-06T00:00:00Z", "value": None}]
    assert body == {
        "success": True,
        "data": {
            "metric": "messages.inbound.received",
            "granularity": "hour",
            "from": "2026-05-05T00:00:00Z",
            "to": "2026-05-06T00:00:00Z",
            "buckets": buckets,
        },
        "meta": {
            "as_of": AS_OF,
            "limit": 1000,
            "next_cursor": None,
            "snapshot": snapshot_id,
            "stale": False,
        },
    }


def test_descendants_count_and_other_accounts_do_not(small):
    client, installation = small
    window = {"metric": "received", "from_": "2026-05-05T00:00Z", "to": "2026-05-05T01:59Z"}
    assert values(answer(client, installation.key("acme"), INBOUND, **window)) == [2, 1]
    assert values(answer(client, installation.key("acme-eu-shop"), INBOUND, **window)) == [0, 1]
    assert values(answer(client, installation.key("rival"), INBOUND, **window)) == [1, 0]
    assert values(answer(client, installation.key("keyholder"), INBOUND, **window)) == [0, 0]


def test_an_account_that_left_the_data_sees_nothing_and_has_the_free_plan(small):
    client, installation = small
    body = answer(client, installation.key("gone"), INBOUND, metric="received")
    assert body["data"]["granularity"] == "day"
    assert len(values(body)) == 31
    assert set(values(body)) <= {0, None}


@pytest.mark.parametrize("granularity", ["minute", "hour", "day"])
def test_cost_is_exact_and_without_trailing_zeros(small, granularity):
    client, installation = small
    response = ask(
        client,
        installation.key(),
        INBOUND,
        metric="cost_cents",
        granularity=granularity,
        from_="2026-05-05T00:59Z",
        to="2026-05-05T01:00Z",
    )
    expected = {
        "minute": ["0.200001", "100"],
        "hour": ["0.300001", "100"],
        "day": ["null"],
    }
    for text in expected[granularity]:
        assert f'"value":{text}}}'.encode() in response.content


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("sent", [2, 0, None]),
        ("delivered", [1, 0, None]),
        ("failed", [2, 0, None]),
        ("cost_cents", [Decimal("7.5"), 0, None]),
    ],
)
def test_outbound_metrics_count_failed_email_too(small, metric, expected):
    client, installation = small
    body = answer(
        client,
        installation.key(),
        MESSAGES,
        metric=metric,
        from_="2026-05-05T00:00Z",
        to="2026-05-05T02:00Z",
    )
    assert body["data"]["metric"] == f"messages.outbound.{metric}"
    assert values(body) == expected


@pytest.mark.parametrize(
    ("granularity", "first"), [("minute", "00:20"), ("hour", "00:00"), ("day", "00:00")]
)
def test_groups_hold_every_group_with_a_message_even_if_the_value_is_zero(
    small, granularity, first
):
    client, installation = small
    installation.publish(
        [
            out("2026-05-04T00:20Z", failed=1, error_code="EC_ABSENT_SUBSCRIBER"),
            out(
                "2026-05-04T00:20Z", failed=1, sent=0, channel_code="EMAIL", error_code="EC_BOUNCE"
            ),
            out("2026-05-04T00:20Z", error_code="é"),
            Message("2026-05-04T00:20Z", error_code="INBOUND_ONLY", channel_code="VIBER"),
        ],
        "2026-05-05T00:00:00Z",
    )
    window = {"from_": f"2026-05-04T{first}Z", "to": f"2026-05-04T{first}Z"}
    common = {"metric": "sent", "granularity": granularity, **window}
    body = answer(client, installation.key(), MESSAGES, group_by="error_code", **common)
    assert body["data"]["buckets"] == [
        {
            "bucket_start": f"2026-05-04T{first}:00Z",
            "groups": [
                {"error_code": "EC_ABSENT_SUBSCRIBER", "value": 1},
                {"error_code": "EC_BOUNCE", "value": 0},
                {"error_code": "é", "value": 1},
            ],
        }
    ]
    body = answer(client, installation.key(), MESSAGES, group_by="channel", **common)
    assert body["data"]["buckets"][0]["groups"] == [
        {"channel": "EMAIL", "value": 0},
        {"channel": "SMS", "value": 2},
    ]


def test_groups_are_empty_where_nothing_was_and_null_where_nothing_is_known(small):
    client, installation = small
    body = answer(
        client,
        installation.key(),
        INBOUND,
        metric="received",
        group_by="channel",
        from_="2026-05-05T00:00Z",
        to="2026-05-05T02:00Z",
    )
    assert [bucket["groups"] for bucket in body["data"]["buckets"]] == [
        [{"channel": "RCS", "value": 1}, {"channel": "SMS", "value": 1}],
        [{"channel": "SMS", "value": 1}],
        None,
    ]


@pytest.mark.parametrize(
    ("as_of", "complete"),
    [("2026-05-05T01:00:00Z", True), ("2026-05-05T00:59:59.999999Z", False)],
)
def test_a_bucket_is_complete_when_its_end_is_not_after_as_of(
    installation, client_of, as_of, complete
):
    installation.publish([Message("2026-05-05T00:00Z")], as_of)
    body = answer(
        client_of(installation),
        installation.key(),
        INBOUND,
        metric="received",
        from_="2026-05-05T00:59Z",
        to="2026-05-05T00:59:01Z",
    )
    assert values(body) == [1 if complete else None]


def test_times_are_echoed_as_understood_and_buckets_counted_whole(small):
    client, installation = small
    body = answer(
        client,
        installation.key(),
        INBOUND,
        metric="received",
        from_="2026-05-05T02:30:00.75+02:00",
        to="2026-05-05T01:00:00Z",
    )
    assert body["data"]["from"] == "2026-05-05T00:30:00Z"
    assert body["data"]["to"] == "2026-05-05T01:00:00Z"
    assert values(body) == [2, 1]


@pytest.mark.parametrize(
    ("account", "granularity", "span"),
    [
        ("acme", None, timedelta(hours=24)),
        ("acme", "minute", timedelta(minutes=60)),
        ("acme", "day", timedelta(days=30)),
        ("grower", None, timedelta(hours=24)),
        ("saver", None, timedelta(days=30)),
    ],
)
def test_defaults_of_the_window(small, account, granularity, span):
    client, installation = small
    chosen = {"granularity": granularity} if granularity else {}
    before = datetime.now(UTC).replace(microsecond=0)
    body = answer(client, installation.key(account), INBOUND, metric="received", **chosen)
    start, end = (datetime.fromisoformat(body["data"][name]) for name in ("from", "to"))
    assert before <= end <= datetime.now(UTC)
    assert end - start == span
    assert body["data"]["granularity"] == (granularity or ("day" if account == "saver" else "hour"))


def test_comparison_and_totals_go_over_positions_complete_in_both(small):
    client, installation = small
    key = installation.key()
    window = {
        "metric": "received",
        "compare_to": "prior_period",
        "from_": "2026-05-05T01:15:00Z",
        "to": "2026-05-05T02:45:00Z",
    }
    body = answer(client, key, INBOUND, **window)
    assert values(body) == [1, None]
    assert body["data"]["comparison"] == {
        "from": "2026-05-04T23:15:00Z",
        "to": "2026-05-05T00:45:00Z",
        "buckets": [
            {"bucket_start": "2026-05-04T23:00:00Z", "value": 0},
            {"bucket_start": "2026-05-05T00:00:00Z", "value": 2},
        ],
    }
    assert body["data"]["totals"] == {"value": 1, "prior_value": 0, "change": None}

    window |= {"from_": "2026-05-05T01:00:00Z", "to": "2026-05-05T01:00:00Z"}
    body = answer(client, key, INBOUND, **window)
    assert body["data"]["totals"] == {"value": 1, "prior_value": 2, "change": Decimal("-0.5")}
    grouped = answer(client, key, INBOUND, group_by="channel", **window)
    assert grouped["data"]["totals"] == body["data"]["totals"]
    assert grouped["data"]["comparison"]["buckets"] == [
        {
            "bucket_start": "2026-05-05T00:00:00Z",
            "groups": [{"channel": "RCS", "value": 1}, {"channel": "SMS", "value": 1}],
        }
    ]


def test_stale_is_told(small):
    client, installation = small
    installation.publish([], AS_OF, stale=True)
    assert answer(client, installation.key(), INBOUND, metric="received")["meta"]["stale"] is True


def test_etag_names_snapshot_and_query(small):
    client, installation = small
    key = installation.key()
    window = {"metric": "received", "from_": "2026-05-05T00:00Z", "to": "2026-05-05T01:00Z"}
    first = ask(client, key, INBOUND, **window)
    assert first.headers["Cache-Control"] == "private, max-age=30"
    etag = first.headers["ETag"]

    def again(sent, **changed):
        return client.get(
            INBOUND,
            params={
                "metric": "received",
                "from": "2026-05-05T00:00:00Z",
                "to": "2026-05-05T01:00:00Z",
                **changed,
            },
            headers={"Authorization": f"Bearer {key}", "If-None-Match": sent},
        )

    for sent in (etag, f'W/{etag}, "other"', "*"):
        response = again(sent)
        assert response.status_code == 304
        assert response.content == b""
        assert response.headers["ETag"] == etag
        assert response.headers["Cache-Control"] == "private, max-age=30"
        assert "X-Request-Id" in response.headers
    assert again('"other"').status_code == 200
    assert again(etag, limit=1).status_code == 200
    installation.publish([], AS_OF)
    assert again(etag).status_code == 200


def test_a_publication_shows_at_the_next_request(small):
    client, installation = small
    key = installation.key()
    window = {"metric": "received", "from_": "2026-05-05T00:00Z", "to": "2026-05-05T00:00Z"}
    assert values(answer(client, key, INBOUND, **window)) == [2]
    published = installation.publish([Message("2026-05-05T00:00Z")], AS_OF)
    body = answer(client, key, INBOUND, **window)
    assert values(body) == [1]
    assert body["meta"]["snapshot"] == published


def test_pages_stay_on_their_snapshot_while_rights_follow_the_current_one(small):
    client, installation = small
    key = installation.key()
    window = {"metric": "received", "from_": "2026-05-05T00:00Z", "to": "2026-05-05T02:00Z"}
    whole = answer(client, key, INBOUND, compare_to="prior_period", **window)
    first = answer(client, key, INBOUND, compare_to="prior_period", limit=1, **window)
    installation.publish([Message("2026-05-05T01:00Z")] * 7, AS_OF)
    second = answer(client, key, INBOUND, cursor=first["meta"]["next_cursor"])
    third = answer(client, key, INBOUND, cursor=second["meta"]["next_cursor"], limit=1)
    pages = [first, second, third]
    assert [value for page in pages for value in values(page)] == values(whole)
    assert third["meta"]["next_cursor"] is None
    for page in pages:
        assert page["meta"]["snapshot"] == whole["meta"]["snapshot"]
        assert page["meta"]["as_of"] == whole["meta"]["as_of"]
        assert page["data"]["totals"] == whole["data"]["totals"]
        assert page["data"]["comparison"]["from"] == whole["data"]["comparison"]["from"]

    # Once the shop belongs to nobody, an old page shows its messages no more.
    installation.accounts = [
        (account, None if account == "acme-eu-shop" else parent, plan)
        for account, parent, plan in installation.accounts
    ]
    installation.publish([], AS_OF)
    assert values(answer(client, key, INBOUND, cursor=first["meta"]["next_cursor"])) == [0]

    # And once the plan is free, hours are no more to be had, on any page.
    installation.accounts = [("acme", None, "free")]
    installation.publish([], AS_OF)
    refused = ask(client, key, INBOUND, cursor=first["meta"]["next_cursor"])
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "GRANULARITY_NOT_AVAILABLE"

    # That the cursor's snapshot is gone is told before that.
    for file in installation.settings.snapshots_dir.iterdir():
        if file != installation.settings.published_path.resolve():
            file.unlink()
    refused = ask(client, key, INBOUND, cursor=first["meta"]["next_cursor"])
    assert refused.json()["error"]["code"] == "INVALID_INPUT"


HOURS = 12
_START = datetime(2026, 5, 5, tzinfo=UTC)
_messages = st.lists(
    st.builds(
        lambda minute, account, outbound, channel, error, delivered, cost: Message(
            (_START + timedelta(minutes=minute)).isoformat(),
            account_key=account,
            direction="OUTBOUND" if outbound else "INBOUND",
            channel_code=channel,
            error_code=error,
            sent=int(outbound),
            delivered=int(outbound and delivered),
            failed=int(outbound and not delivered),
            cost_cents=cost,
        ),
        st.integers(0, HOURS * 60 - 1),
        st.sampled_from(["acme", "acme-eu", "acme-eu-shop", "rival", "saver"]),
        st.booleans(),
        st.sampled_from(["SMS", "EMAIL", "RCS"]),
        st.sampled_from(["NO_ERROR", "EC_ABSENT_SUBSCRIBER"]),
        st.booleans(),
        st.decimals(0, 1000, places=6),
    ),
    max_size=40,
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    messages=_messages,
    as_of_minute=st.integers(0, HOURS * 60),
    limit=st.integers(1, HOURS + 1),
    group_by=st.sampled_from([None, "channel", "error_code"]),
    metric=st.sampled_from(["sent", "delivered", "failed", "cost_cents"]),
    first=st.integers(0, HOURS - 1),
)
def test_pages_equal_the_long_answer_and_the_messages_themselves(
    tmp_path_factory, client_of, messages, as_of_minute, limit, group_by, metric, first
):
    installation = Installation(Settings(home=tmp_path_factory.mktemp("home"), rate_limit=100_000))
    as_of = _START + timedelta(minutes=as_of_minute)
    installation.publish(messages, as_of.isoformat())
    client, key = client_of(installation), installation.key("acme")
    start = _START + timedelta(hours=first)
    asked = {
        "metric": metric,
        "from_": start.isoformat(),
        "to": (_START + timedelta(hours=HOURS - 1)).isoformat(),
        "compare_to": "prior_period",
    }
    if group_by:
        asked["group_by"] = group_by
    whole = answer(client, key, MESSAGES, **asked)["data"]

    pages = [answer(client, key, MESSAGES, limit=limit, **asked)]
    while pages[-1]["meta"]["next_cursor"]:
        installation.publish([], AS_OF)
        pages.append(answer(client, key, MESSAGES, cursor=pages[-1]["meta"]["next_cursor"]))
    assert len(pages) == -(-(HOURS - first) // limit)
    for part in ("buckets", "comparison"):
        collected = [page["data"][part] for page in pages]
        if part == "comparison":
            assert sum((page["buckets"] for page in collected), []) == whole[part]["buckets"]
        else:
            assert sum(collected, []) == whole[part]
    assert all(page["data"]["totals"] == whole["totals"] for page in pages)

    mine = [
        message
        for message in messages
        if message.account_key.startswith("acme") and message.direction == "OUTBOUND"
    ]
    expected, counted = Counter(), Counter()
    for message in mine:
        group = {"channel": message.channel_code, "error_code": message.error_code}.get(group_by)
        hour = datetime.fromisoformat(message.sent_at).hour
        expected[hour, group] += getattr(message, metric)
        counted[hour, group] += 1
    for position, bucket in enumerate(whole["buckets"]):
        hour = first + position
        complete = (hour + 1) * 60 <= as_of_minute
        if group_by is None:
            assert bucket["value"] == (expected[hour, None] if complete else None)
        elif not complete:
            assert bucket["groups"] is None
        else:
            assert bucket["groups"] == [
                {group_by: group, "value": expected[hour, group]}
                for at, group in sorted(counted)
                if at == hour
            ]
    known = [hour for hour in range(first, HOURS) if (hour + 1) * 60 <= as_of_minute]
    total = sum(value for (hour, _), value in expected.items() if hour in known)
    assert whole["totals"]["value"] == total
