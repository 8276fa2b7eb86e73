"""Truths counted by hand that the reference itself must state."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from .marts import MART_NAMES, mart, marts, minutely
from .metrics import (
    DIMENSION_NAMES,
    METRICS,
    answer,
    columns,
    kept_dimensions,
    period_start,
    requested_period,
)
from .outcomes import BUCKET_NAMES, bucket, email_domain, outcomes, whole_seconds
from .records import (
    CHANNELS,
    Number,
    Refusal,
    latest_accounts,
    latest_events,
    latest_messages,
    load_json_line,
    parse_account,
    parse_event,
    parse_message,
    timestamp,
    with_descendants,
)

NOW = datetime(2026, 5, 10, tzinfo=UTC)
REFERENCE_DATA = {
    "error_groups": {"NO_ERROR": "OK", "EC_ABSENT_SUBSCRIBER": "HANDSET_ERRORS"},
    "country_names": {191: "Croatia"},
    "network_names": {219010: "T-Mobile"},
}
MESSAGE = {
    "message_id": "m1",
    "account_key": "a",
    "direction": "OUTBOUND",
    "channel_code": "SMS",
    "sent_at": "2026-05-05T10:15:30Z",
    "sender": "Shop",
    "recipient": "385911111111",
}
EVENT = {
    "event_id": "e1",
    "message_id": "m1",
    "event_type": "DELIVERED",
    "occurred_at": "2026-05-05T10:15:33Z",
}


def message(**fields):
    return parse_message({**MESSAGE, **fields}, now=NOW)


def event(**fields):
    return parse_event({**EVENT, **fields}, now=NOW)


def account(**fields):
    return parse_account({"account_key": "a", **fields}, now=NOW)


def refused_field(record):
    return record.field if isinstance(record, Refusal) else None


def outcome_of(event_types, **message_fields):
    """The outcome of one message with (type, seconds after sending, fields) events."""
    sent = message(**message_fields)
    happened = [
        event(
            event_id=f"e{number:02}",
            event_type=event_type,
            occurred_at=(sent.sent_at + timedelta(seconds=seconds)).isoformat(),
            **fields,
        )
        for number, (event_type, seconds, fields) in enumerate(event_types)
    ]
    assert not any(isinstance(record, Refusal) for record in [sent, *happened])
    return outcomes([sent], happened, REFERENCE_DATA)["m1"]


def counted(outcome):
    return {name for name, amount in outcome.measures.items() if amount}


# ------------------------------------------------------------------------------------ records


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-05T10:00:00Z",
        "2026-05-05 12:00:00+02:00",
        "2026-05-05T12:00:00.000+0200",
        "2026-05-05T12:00+02",
        "2026-05-05T04:30:00-05:30",
    ],
)
def test_timestamps_of_any_offset_are_kept_in_utc(text):
    assert timestamp(text) == datetime(2026, 5, 5, 10, tzinfo=UTC)


def test_digits_finer_than_a_microsecond_are_cut_not_rounded():
    assert timestamp("2026-05-05T10:00:00.1234569Z").microsecond == 123456
    assert timestamp("2026-05-05T10:00:00.9999999Z").second == 0
    assert timestamp("2026-05-05T10:00:00.5Z").microsecond == 500000


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-05T10:00:00",
        "2026-05-05",
        "1999-12-31T23:59:59Z",
        "2000-01-01T00:30:00+02:00",
        "2026-05-11T00:00:00.000001Z",
        "2026-02-29T10:00:00Z",
        "2026-05-05T24:00:00Z",
        "2026-05-05T10:00:00+24:00",
        " 2026-05-05T10:00:00Z",
        Number("1777975530"),
        True,
        [],
    ],
)
def test_a_message_with_such_a_sent_at_is_refused(text):
    assert refused_field(message(sent_at=text)) == "sent_at"


def test_exactly_24_hours_ahead_and_the_first_moment_of_2000_are_taken():
    assert message(sent_at="2026-05-11T00:00:00Z").sent_at == NOW + timedelta(hours=24)
    assert message(sent_at="2000-01-01T00:00:00Z").sent_at.year == 2000


def test_json_numbers_keep_their_literal_text_in_text_fields():
    raw = load_json_line('{"sender": 1.50, "recipient": 12345678901234567890, "x": [1]}')
    assert raw == {"sender": "1.50", "recipient": "12345678901234567890", "x": ["1"]}
    assert message(**raw).sender == "1.50"
    for broken in ("[1]", "3", "{", '{"a": NaN}', '{"a": 1} x', ""):
        assert isinstance(load_json_line(broken), Refusal)


def test_integers_are_judged_by_value_and_bounds():
    assert message(segments="3.0").segments == 3
    assert message(segments=Number("32767")).segments == 32767
    assert message(segments="").segments == message(segments=None).segments == 1
    assert message(communication_id=str(2**63 - 1)).communication_id == 2**63 - 1
    for broken in ("3.5", "0", "-1", "32768", "three", " 3", "1e99", "1e9999999999999999999", True):
        assert refused_field(message(segments=broken)) == "segments"
    assert refused_field(message(communication_id=str(2**63))) == "communication_id"
    assert refused_field(message(country_id=str(2**31))) == "country_id"


def test_costs_are_exact_with_six_places_below_ten_to_the_twelfth():
    assert message(cost_cents=Number("0.1")).cost_cents == Decimal("0.1")
    assert message(cost_cents="999999999999.999999").cost_cents == Decimal("999999999999.999999")
    assert message(cost_cents="0.1234560").cost_cents == Decimal("0.123456")
    for broken in ("0.1234567", "1000000000000", "-0.01", "NaN", "Infinity", "1,5"):
        assert refused_field(message(cost_cents=broken)) == "cost_cents"


def test_a_foreign_currency_costs_nothing_and_keeps_its_amount():
    raw = {**MESSAGE, "cost_cents": "5.5", "currency": "EUR"}
    foreign = parse_message(raw, now=NOW)
    assert (foreign.cost_cents, foreign.amount, foreign.currency) == (0, Decimal("5.5"), "EUR")
    assert parse_message(raw, now=NOW, currency="EUR").cost_cents == Decimal("5.5")
    assert parse_message(MESSAGE, now=NOW, currency="EUR").currency == "EUR"
    assert refused_field(message(currency="euro")) == "currency"


def test_text_is_never_trimmed_and_empty_text_is_null():
    assert message(sender=" Shop ").sender == " Shop "
    assert message(interaction_id="").interaction_id is None
    assert refused_field(message(sender="")) == "sender"
    assert refused_field(message(message_id="x" * 257)) == "message_id"
    assert message(message_id="é" * 256).message_id == "é" * 256


def test_sender_type_rules_differ_by_channel():
    assert message(sender_type="10DLC").sender_type == "10DLC"
    assert message().sender_type is None
    assert refused_field(message(sender_type="VIBER")) == "sender_type"
    assert message(channel_code="EMAIL").sender_type == "DOMAIN"
    assert message(channel_code="EMAIL", sender_type="SHORT_CODE").sender_type == "SHORT_CODE"
    assert message(channel_code="RCS", sender_type="nonsense").sender_type == "RCS"


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("direction", "outbound"),
        ("channel_code", "FAX"),
        ("traffic_type", "OTHER"),
        ("account_key", None),
        ("recipient", {"to": "x"}),
    ],
)
def test_a_message_with_a_broken_field_is_refused_by_its_name(field, broken):
    assert refused_field(message(**{field: broken})) == field


def test_fields_foreign_to_the_event_type_are_ignored_even_if_broken():
    delivered = event(bounce_type="BOTH", drop_reason=[], url={}, is_unsubscribe_link="perhaps")
    assert (delivered.bounce_type, delivered.url, delivered.is_unsubscribe_link) == (
        None, None, False,
    )  # fmt: skip
    assert event(event_type="SEEN", status=["x"], error_code="E").status is None


def test_event_defaults_and_requirements():
    assert (event().status, event().error_code) == ("DELIVERED_TO_HANDSET", "NO_ERROR")
    assert event(event_type="DROPPED").drop_reason == "OTHER"
    assert event(event_type="DROPPED").status == "UNDELIVERABLE_NOT_SENT"
    assert refused_field(event(event_type="BOUNCED")) == "bounce_type"
    assert refused_field(event(event_type="BOUNCED", bounce_type="soft")) == "bounce_type"
    assert refused_field(event(event_type="CLICKED")) == "url"
    assert event(event_type="CLICKED", url="u", is_unsubscribe_link="TRUE").is_unsubscribe_link
    click = event(event_type="CLICKED", url="u", is_unsubscribe_link=Number("1"))
    assert refused_field(click) == "is_unsubscribe_link"
    assert refused_field(event(event_type="READ")) == "event_type"


def test_account_defaults():
    plain = account()
    assert (plain.name, plain.plan, plain.parent_account_key) == ("a", "free", None)
    assert plain.updated_at == datetime(2000, 1, 1, tzinfo=UTC)
    assert refused_field(account(plan="gold")) == "plan"


# ----------------------------------------------------------------------------------- versions


def test_the_latest_version_does_not_depend_on_order_or_number_of_arrivals():
    versions = [
        message(updated_at="2026-05-06T00:00:00Z", sender="B"),
        message(updated_at="2026-05-06T00:00:00Z", sender="B", traffic_type="A2P_CONVERSATION"),
        message(updated_at="2026-05-06T00:00:00Z", sender="A", segments="9"),
        message(sender="Z"),
    ]
    for order in itertools.permutations(versions):
        winner = latest_messages([*order, order[0]])["m1"]
        assert (winner.sender, winner.traffic_type) == ("B", "A2P_CONVERSATION")


def test_of_two_versions_of_an_event_the_one_greater_in_field_order_wins():
    early, late = event(), event(occurred_at="2026-05-05T11:00:00Z")
    other = event(message_id="m0", occurred_at="2026-05-06T11:00:00Z")
    assert latest_events([late, early, other])["e1"] == late


def test_accounts_on_a_chain_that_loops_stand_without_a_parent():
    parents = {"a": "b", "b": "c", "c": "b", "d": "d", "e": "f", "f": None, "g": "gone"}
    rows = [account(account_key=k, parent_account_key=p) for k, p in parents.items()]
    for order in (rows, rows[::-1]):
        found = {k: v.parent_account_key for k, v in latest_accounts(order).items()}
        assert found == {
            "a": None, "b": None, "c": None, "d": None, "e": "f", "f": None, "g": "gone",
        }  # fmt: skip


# ----------------------------------------------------------------------------------- outcomes


def test_a_message_without_events_is_pending_and_an_inbound_one_is_delivered():
    waiting = outcome_of([("SEEN", 5, {})])
    assert (waiting.status, waiting.status_group) == ("PENDING_ENROUTE", "PENDING")
    assert (waiting.error_code, waiting.error_group) == ("NO_ERROR", "OK")
    received = outcome_of([("BOUNCED", 1, {"bounce_type": "HARD"})], direction="INBOUND")
    assert (received.status, received.error_group) == ("DELIVERED_TO_HANDSET", "OK")
    assert counted(received) == {"messages_in", "traffic_in", "interactions_in"}
    assert received.time_to_deliver is None


def test_a_final_status_beats_a_later_pending_one():
    assert outcome_of([("DELIVERED", 1, {}), ("SENT", 9, {})]).status_group == "DELIVERED"


def test_the_later_final_status_wins_and_precedence_decides_ties():
    assert outcome_of([("DELIVERED", 1, {}), ("REJECTED", 2, {})]).status_group == "REJECTED"
    tie = [("DELIVERED", 5, {}), ("UNDELIVERABLE", 5, {}), ("EXPIRED", 5, {}), ("REJECTED", 5, {})]
    groups = [outcome_of(tie[start:]).status_group for start in range(4)]
    assert groups == ["DELIVERED", "UNDELIVERABLE", "EXPIRED", "REJECTED"]


def test_the_greatest_event_id_decides_between_equals():
    soft, hard = ("BOUNCED", 5, {"bounce_type": "SOFT"}), ("BOUNCED", 5, {"bounce_type": "HARD"})
    assert "hard_bounced" in counted(outcome_of([soft, hard]))
    assert "soft_bounced" in counted(outcome_of([hard, soft]))


def test_the_status_group_is_that_of_the_event_type_and_error_groups_come_by_name():
    odd = outcome_of([("EXPIRED", 1, {"status": "DELIVERED_TO_OPERATOR", "error_code": "EC_X"})])
    assert (odd.status, odd.status_group) == ("DELIVERED_TO_OPERATOR", "EXPIRED")
    assert (odd.error_code, odd.error_group) == ("EC_X", None)


def test_delivery_counts_from_the_first_report_and_only_if_it_stands():
    twice = outcome_of([("DELIVERED", 4, {}), ("DELIVERED", 60, {})])
    assert twice.time_to_deliver == timedelta(seconds=4)
    assert twice.measures["delivered_in_5_sec"] == 1
    undone = outcome_of([("DELIVERED", 4, {}), ("EXPIRED", 60, {}), ("SEEN", 9, {})])
    assert undone.delivered_at is None
    assert undone.time_to_seen_from_delivered is None
    assert counted(undone) & {"delivered", "failed", "opened_messages"} == {
        "failed", "opened_messages",
    }  # fmt: skip


def test_five_seconds_is_not_under_five_seconds_and_durations_below_zero_are_zero():
    assert outcome_of([("DELIVERED", 5, {})]).measures["delivered_in_5_sec"] == 0
    assert outcome_of([("DELIVERED", 4.999999, {})]).measures["delivered_in_5_sec"] == 1
    before = outcome_of([("DELIVERED", -3, {})])
    assert before.time_to_deliver == timedelta(0)
    assert before.measures["delivered_in_5_sec"] == 1


def test_unsubscribe_links_count_nowhere():
    clicked = outcome_of(
        [
            ("DELIVERED", 1, {}),
            ("CLICKED", 2, {"url": "u0", "is_unsubscribe_link": True}),
            ("CLICKED", 8, {"url": "u1"}),
            ("CLICKED", 9, {"url": "u2"}),
            ("CLICKED", 9, {"url": "u1"}),
        ]
    )
    assert clicked.clicks_by_url == {"u1": 2, "u2": 1}
    assert (clicked.measures["clicks"], clicked.measures["distinct_urls"]) == (3, 2)
    assert clicked.time_to_click_from_delivered == timedelta(seconds=7)
    assert clicked.measures["unsubscribed"] == 0


def test_rejected_and_dropped_emails_leave_accepted_and_sent():
    rejected = counted(outcome_of([("REJECTED", 1, {})], channel_code="EMAIL"))
    assert rejected == {"messages_out", "interactions_out", "rejected", "failed"}
    reason = {"drop_reason": "COMPLAINED"}
    dropped = counted(outcome_of([("DROPPED", 1, reason)], channel_code="EMAIL"))
    assert dropped == {
        "messages_out", "interactions_out", "traffic_out", "accepted", "failed", "dropped",
        "suppressed",
    }  # fmt: skip
    sms = counted(outcome_of([("REJECTED", 1, {})]))
    assert sms == {
        "messages_out", "interactions_out", "traffic_out", "sent", "rejected", "failed",
    }  # fmt: skip


def test_the_earliest_message_of_an_account_opens_its_interaction_whatever_its_direction():
    sent = [
        message(message_id="m2", interaction_id="i"),
        message(message_id="m1", interaction_id="i", direction="INBOUND"),
        message(message_id="m0", interaction_id="i", sent_at="2026-05-05T10:15:31Z"),
        message(message_id="m3", interaction_id="i", account_key="b", channel_code="RCS"),
        message(message_id="m4"),
    ]
    found = outcomes(sent, [], REFERENCE_DATA)
    assert {key for key, o in found.items() if o.opens_interaction} == {"m1", "m3", "m4"}
    assert found["m1"].measures["interactions_in"] == 1


def test_domains_stand_behind_the_last_at_and_only_for_email():
    assert email_domain("A@b <x@y@Shop.COM>") == "shop.com"
    assert email_domain("no at") is email_domain("x@") is email_domain("x@y <>") is None
    assert email_domain("x@y <z") == "y <z"
    inbound = outcome_of([], channel_code="EMAIL", direction="INBOUND",
                         sender="end@user.org", recipient="Shop <a@shop.com>")  # fmt: skip
    assert (inbound.sender, inbound.sender_domain) == ("Shop <a@shop.com>", "shop.com")
    assert inbound.recipient_domain == "user.org"
    assert outcome_of([], sender="x@y").sender_domain is None


def test_buckets_hold_their_lower_bound_and_not_their_upper():
    assert len(BUCKET_NAMES) == 31
    micro = timedelta(microseconds=1)
    for lower, name, below in [
        (timedelta(seconds=5), "SECONDS_5", "SECONDS_4"),
        (timedelta(minutes=1), "MINUTES_1", "SECONDS_50"),
        (timedelta(hours=1), "HOURS_1", "MINUTES_45"),
        (timedelta(days=1), "DAYS_1", "HOURS_18"),
        (timedelta(days=3), "DAYS_3", "DAYS_2"),
    ]:
        assert (bucket(lower), bucket(lower - micro)) == (name, below)
    assert bucket(timedelta(0)) == "SECONDS_0"
    assert bucket(timedelta(days=999)) == "DAYS_3"
    assert whole_seconds(timedelta(seconds=2, microseconds=999999)) == 2


# ------------------------------------------------------------------------------------ queries


@pytest.fixture(scope="module")
def day():
    """Three SMS (one inbound, one rejected) and two emails of two accounts, around midnight."""
    sent = [
        message(message_id="s1", segments="2", cost_cents="0.1", country_id="191"),
        message(message_id="s2", sent_at="2026-05-05T23:59:59Z", cost_cents="0.2"),
        message(message_id="s3", sent_at="2026-05-05T10:59:59Z", direction="INBOUND",
                sender="end user", recipient="Shop", segments="3"),
        message(message_id="m1", channel_code="EMAIL", account_key="b", sent_at="2026-05-06T00:00Z",
                sender="x@shop.com", recipient="a@b.org"),
        message(message_id="m2", channel_code="EMAIL", account_key="b", sent_at="2026-05-06T00:00Z",
                sender="x@shop.com", recipient="c@B.org"),
    ]  # fmt: skip
    later = "2026-05-09T00:00:00Z"
    happened = [
        event(event_id="1", message_id="s1"),
        event(event_id="2", message_id="s2", event_type="REJECTED", occurred_at=later),
        event(event_id="3", message_id="m1", occurred_at="2026-05-06T00:00:02Z"),
        event(event_id="4", message_id="m1", event_type="CLICKED", url="v", occurred_at=later),
        event(event_id="5", message_id="m1", event_type="CLICKED", url="u", occurred_at=later),
        event(event_id="6", message_id="m1", event_type="CLICKED", url="u", occurred_at=later),
        event(event_id="7", message_id="m2", event_type="CLICKED", url="u", occurred_at=later),
        event(event_id="8", message_id="not yet here"),
    ]
    return outcomes(sent, happened, REFERENCE_DATA)


ACCOUNTS = latest_accounts([account(), account(account_key="b", parent_account_key="a")])
WHOLE = {"sentSince": "2026-05-05T00:00:00.000+0000", "sentUntil": "2026-05-07T00:00:00Z"}


def ask(day, aggregate_by, metrics, **more):
    filter_by = {**WHOLE, **more.pop("filter_by", {})}
    return answer(
        day, ACCOUNTS, aggregate_by=aggregate_by, filter_by=filter_by, metrics=metrics, **more
    )


def test_the_channel_is_forced_to_the_front_and_late_events_count_in_the_sent_hour(day):
    rows = ask(day, ["HOUR"], ["TOTAL_TRAFFIC_COUNT", "TRAFFIC_DELIVERY_RATE"])
    assert rows == [
        ["EMAIL", datetime(2026, 5, 6, tzinfo=UTC), 2, 0.5],
        ["SMS", datetime(2026, 5, 5, 10, tzinfo=UTC), 5, 1.0],
        ["SMS", datetime(2026, 5, 5, 23, tzinfo=UTC), 1, None],
    ]


def test_values_that_a_channel_lacks_and_empty_rates_can_be_named(day):
    metrics = ["CLICK_TO_OPEN_RATE", "FAILED_TRAFFIC_COUNT"]
    rows = ask(day, ["CHANNEL_NAME", "SENDER_DOMAIN"], metrics, missing="N/A", empty_rate=0.0)
    assert rows == [["Email", "shop.com", 0.0, "N/A"], ["SMS", "N/A", "N/A", 1]]


def test_a_url_counts_its_messages_and_its_own_clicks(day):
    rows = ask(
        day, ["URL"], ["UNIQUE_CLICKS_COUNT", "UNIQUE_URL_CLICK_COUNT", "TOTAL_CLICKS_COUNT"]
    )
    assert rows == [["EMAIL", "u", 2, 2, 3], ["EMAIL", "v", 1, 1, 1]]
    with pytest.raises(ValueError, match="does not go with URL"):
        ask(day, ["URL"], ["TOTAL_TRAFFIC_COUNT"])


def test_without_urls_the_distinct_ones_are_summed_over_messages(day):
    assert ask(day, [], ["UNIQUE_URL_CLICK_COUNT"]) == [["EMAIL", 3], ["SMS", 0]]


def test_costs_are_summed_exactly_and_components_stand_behind_their_rate(day):
    rows = ask(day, ["COUNTRY_NAME"], ["TOTAL_COST_CENTS", "RECEIVED_TO_SENT_TRAFFIC_RATIO"],
               include_components=True, filter_by={"channelCode": "SMS"})  # fmt: skip
    assert rows == [
        ["SMS", "Croatia", Decimal("0.1"), 0.0, 0, 1],
        ["SMS", None, Decimal("0.2"), None, 1, 0],
    ]
    named = columns(["COUNTRY_NAME"], ["TOTAL_COST_CENTS", "TOTAL_BOUNCE_RATE"])
    assert [data_type for _, data_type in named] == ["STRING", "STRING", "NUMBER", "NUMBER"]


def test_a_direction_filter_takes_whole_messages(day):
    metrics = ["TOTAL_TRAFFIC_COUNT", "TOTAL_SMS_MESSAGES_COUNT", "RECEIVED_TO_SENT_TRAFFIC_RATIO"]
    assert ask(day, [], metrics, filter_by={"directions": ["INBOUND"]}) == [["SMS", 3, 1, None]]
    assert ask(day, ["DIRECTION"], metrics, filter_by={"channelCodes": ["SMS"]}) == [
        ["SMS", "INBOUND", 3, 1, None],
        ["SMS", "OUTBOUND", 3, 2, 0.0],
    ]


def test_time_spans_are_bucket_names_and_never_match_an_unknown_duration(day):
    def delivered(spans):
        rows = ask(day, [], ["TOTAL_TRAFFIC_COUNT"], filter_by={"timeToDeliver": spans})
        return [row[0] for row in rows]

    assert delivered([{}]) == ["EMAIL", "SMS"]
    assert delivered([{"from": "SECONDS_3"}]) == ["SMS"]
    assert delivered([{"to": "SECONDS_3"}]) == ["EMAIL"]
    assert delivered([{"from": "SECONDS_4", "to": "DAYS_1"}]) == []
    with pytest.raises(ValueError, match="no time bucket"):
        delivered([{"from": "SECONDS_3", "to": "SECONDS_3"}])


def test_durations_are_bucket_names_or_seconds_with_unknown_ones_last(day):
    rows = ask(day, ["TIME_TO_DELIVER"], ["TOTAL_SENT_TRAFFIC_COUNT"])
    assert rows[:2] == [["EMAIL", "SECONDS_2", 1], ["EMAIL", None, 1]]
    rows = ask(day, ["TIME_TO_CLICK_FROM_DELIVERED"], ["TOTAL_SENT_TRAFFIC_COUNT"])
    assert rows == [["EMAIL", 3 * 86400 - 2, 1], ["EMAIL", None, 1], ["SMS", None, 2]]


def test_a_key_sees_its_account_and_below_and_nothing_else(day):
    def accounts_seen(key_account, **filter_by):
        rows = ask(day, ["ACCOUNT_KEY"], ["TOTAL_TRAFFIC_COUNT"], key_account=key_account,
                   filter_by=filter_by)  # fmt: skip
        return {row[1] for row in rows}

    assert accounts_seen("a") == {"a"}
    assert accounts_seen("a", includeSubaccounts=True) == {"a", "b"}
    assert accounts_seen("a", accountKeys=["b", "z"]) == {"b"}
    assert accounts_seen("b", accountKeys=["a"], includeSubaccounts=True) == set()
    assert accounts_seen("b", accountKeys=["a"]) == set()
    assert with_descendants(ACCOUNTS, ["a"]) == {"a", "b"}


def test_the_end_of_the_period_is_exclusive_and_its_start_inclusive(day):
    midnight = {"sentSince": "2026-05-05T23:59:59Z", "sentUntil": "2026-05-06T00:00:00Z"}
    assert ask(day, [], ["TOTAL_TRAFFIC_COUNT"], filter_by=midnight) == [["SMS", 1]]


@pytest.mark.parametrize(
    "filter_by",
    [{"colour": ["red"]}, {"direction": "INBOUND", "directions": []}, {"channelCodes": []}],
)
def test_a_filter_that_cannot_be_asked_is_an_error(day, filter_by):
    with pytest.raises(ValueError, match=r"unknown|spellings|no channel"):
        ask(day, [], ["TOTAL_TRAFFIC_COUNT"], filter_by=filter_by)


def test_only_the_finest_time_dimension_is_kept_at_its_own_place():
    assert kept_dimensions(["YEAR", "SENDER", "DAY", "CHANNEL_NAME"]) == [
        "SENDER", "DAY", "CHANNEL_NAME",
    ]  # fmt: skip
    weeks = ["WEEK_SUNDAY_START", "WEEK_MONDAY_START", "QUARTER"]
    assert kept_dimensions(weeks) == ["CHANNEL_CODE", "WEEK_SUNDAY_START"]
    with pytest.raises(ValueError, match="repeated"):
        kept_dimensions(["DAY", "DAY"])


def test_periods_start_where_the_calendar_says():
    thursday = datetime(2026, 5, 7, 13, 30, tzinfo=UTC)
    starts = {
        name: period_start(thursday, name)
        for name in ("DAY", "WEEK_SATURDAY_START", "WEEK_SUNDAY_START", "WEEK_MONDAY_START",
                     "MONTH", "QUARTER", "YEAR")
    }  # fmt: skip
    assert [f"{start:%m-%d %H}" for start in starts.values()] == [
        "05-07 00", "05-02 00", "05-03 00", "05-04 00", "05-01 00", "04-01 00", "01-01 00",
    ]  # fmt: skip


def test_the_repeated_hour_of_autumn_is_two_hours_of_one_day_of_25():
    first, second = (datetime(2025, 10, 26, hour, 30, tzinfo=UTC) for hour in (0, 1))
    starts = [period_start(moment, "HOUR", "Europe/Zagreb") for moment in (first, second)]
    assert [start.isoformat() for start in starts] == [
        "2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00",
    ]  # fmt: skip
    assert starts[0] != starts[1]
    days = {period_start(moment, "DAY", "Europe/Zagreb") for moment in (first, second)}
    assert [day.isoformat() for day in days] == ["2025-10-26T00:00:00+02:00"]


def test_the_period_is_widened_then_cut_at_the_last_complete_hour():
    def period(since, until, dimensions, as_of="2026-05-09T12:34:00Z", **more):
        start, end = requested_period(
            since, until, as_of=timestamp(as_of), aggregate_by=dimensions, **more
        )
        return f"{start:%m-%d %H}", f"{end:%m-%d %H}"

    asked = ("2026-05-05T10:20:00Z", "2026-05-06T10:20:00Z")
    assert period(*asked, []) == ("05-05 10", "05-06 11")
    assert period(*asked, ["DAY"]) == ("05-05 00", "05-07 00")
    assert period(*asked, ["DAY"], widens_to_dimension=False) == ("05-05 10", "05-06 11")
    assert period(*asked, ["MONTH"]) == ("05-01 00", "05-09 12")
    assert period(*asked, ["HOUR"], as_of="2026-05-01T00:00:00Z") == ("05-05 10", "05-05 10")
    assert period(asked[0], asked[0], ["YEAR"]) == ("01-01 00", "01-01 00")


# -------------------------------------------------------------------------- catalogue and marts


def test_the_catalogue_has_the_counts_of_the_specification():
    assert (len(METRICS), len(DIMENSION_NAMES), len(CHANNELS), len(MART_NAMES)) == (35, 34, 19, 46)
    both = METRICS["CLICK_TO_OPEN_RATE"].channels
    assert {"FB", "APPLECB", "SMS", "KAKAOA"}.isdisjoint(both)
    assert len(both) == 11


def test_a_mart_row_counts_both_directions_side_by_side(day):
    start = datetime(2026, 5, 5, 10, tzinfo=UTC)
    row = mart(day, "sender", "hourly")[(start, "a", "SMS", "Shop")]
    assert (row["messages_out"], row["messages_in"]) == (1, 1)
    assert (row["traffic_out"], row["traffic_in"], row["total_traffic_count"]) == (2, 3, 5)
    assert row["received_to_sent_traffic_ratio"] == 1.0
    assert row["total_bounce_count"] is None
    assert row["cost_cents_out"] == Decimal("0.1")


def test_url_marts_hold_clicks_alone_and_minutes_hold_measures_alone(day):
    start = datetime(2026, 5, 6, tzinfo=UTC)
    assert mart(day, "url", "daily")[(start, "b", "EMAIL", "u")] == {
        "clicked_messages": 2,
        "clicks": 3,
        "unique_clicks_count": 2,
        "unique_url_click_count": 2,
        "total_clicks_count": 3,
    }
    rows = minutely(day)
    assert rows[(start, "b", "EMAIL")]["sent"] == 2
    assert (datetime(2026, 5, 5, 10, 59, tzinfo=UTC), "a", "SMS") in rows


def test_every_mart_but_that_of_urls_has_the_same_totals(day):
    for name, rows in marts(day):
        if not name.endswith("_url"):
            assert sum(row["messages_out"] + row["messages_in"] for row in rows.values()) == 5
            assert sum(row["cost_cents_out"] for row in rows.values()) == Decimal("0.3")


def test_duration_marts_hold_bucket_names(day):
    keys = {key[-1] for key in mart(day, "time_to_click_from_delivered", "daily")}
    assert keys == {"DAYS_2", None}
