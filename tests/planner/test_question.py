"""What may be asked, what is refused and in which words, and what a question means."""

from datetime import UTC, datetime

import pytest

from endpoint.planning.question import (
    AGGREGATE_ROUTE,
    MAX_LIST_LENGTH,
    OTHER_SPELLINGS,
    QUERY_ROUTE,
    ExtendedQuestionBody,
    FilterBy,
    InvalidQuestionError,
    QuestionBody,
    kept_dimensions,
    known_values,
    read_question,
)
from msgmetrics.catalogue import catalogue

PERIOD = {"sentSince": "2026-05-05T00:00:00.000+0000", "sentUntil": "2026-05-06T00:00:00Z"}
CHANNEL = {"channelCodes": ["SMS"]}


def body(filters=(), **members):
    return {
        "filterBy": PERIOD | CHANNEL | dict(filters),
        "aggregateBy": [],
        "metrics": ["TOTAL_TRAFFIC_COUNT"],
    } | members


def refusals(asked, flavour=AGGREGATE_ROUTE, prefix="request"):
    with pytest.raises(InvalidQuestionError) as caught:
        read_question(asked, flavour, prefix=prefix)
    return {violation["property"]: violation["violation"] for violation in caught.value.violations}


@pytest.mark.parametrize(
    ("filters", "place", "words"),
    [
        ({"channelCodes": ["SMS", "FAX"]}, "channelCodes[1]", "'FAX' is not known; it must be SMS"),
        ({"channelCodes": ["sms"]}, "channelCodes[0]", "'sms' is not known"),
        ({"channelCodes": []}, "channelCodes", "must name at least one channel"),
        ({"channelCodes": None}, "channelCodes", "must name at least one channel"),
        ({"channelCodes": "SMS"}, "channelCodes", "must be a list"),
        ({"channelCode": "SMS"}, "channelCode", "is another spelling of channelCodes"),
        ({"directions": ["UP"]}, "directions[0]", "it must be OUTBOUND or INBOUND"),
        ({"direction": "UP"}, "direction", "it must be OUTBOUND or INBOUND"),
        ({"direction": ["UP"]}, "direction[0]", "it must be OUTBOUND or INBOUND"),
        ({"direction": 7}, "direction", "must be a list"),
        (
            {"direction": "INBOUND", "directions": ["INBOUND"]},
            "direction",
            "only one of the two may be given",
        ),
        ({"statusGroups": ["LOST"]}, "statusGroups[0]", "'LOST' is not known"),
        ({"errorGroups": ["LOST"]}, "errorGroups[0]", "HANDSET_ERRORS"),
        ({"trafficTypes": ["LOST"]}, "trafficTypes[0]", "UTILITY_CONVERSATION"),
        ({"senderTypes": ["SMS"]}, "senderTypes[0]", "ALPHANUMERIC"),
        ({"senders": "Shop"}, "senders", "must be a list"),
        ({"senders": ["Shop", None]}, "senders[1]", "must be a text"),
        ({"senders": [5]}, "senders[0]", "must be a text"),
        ({"senders": [["Shop"]]}, "senders[0]", "must be a text"),
        ({"senders": ["\ud800"]}, "senders[0]", "must be valid Unicode text"),
        ({"senders": ["x"] * (MAX_LIST_LENGTH + 1)}, "senders", "more than 10000 entries"),
        ({"applicationId": ["app"]}, "applicationId", "must be a text"),
        ({"entityId": 5}, "entityId", "must be a text"),
        ({"countryIds": [2**31]}, "countryIds[0]", "a whole number of at most 2147483647"),
        ({"networkIds": [-(2**31) - 1]}, "networkIds[0]", "a whole number of at least -2147483648"),
        ({"communicationIds": [2**63]}, "communicationIds[0]", "a whole number of at most 92233"),
        ({"communicationIds": [10**400]}, "communicationIds[0]", "a whole number of at most"),
        ({"countryIds": [True]}, "countryIds[0]", "must be a whole number"),
        ({"countryIds": ["191"]}, "countryIds[0]", "must be a whole number"),
        ({"countryIds": [1.5]}, "countryIds[0]", "must be a whole number"),
        ({"includeSubaccounts": "true"}, "includeSubaccounts", "must be true or false"),
        ({"sentSince": None}, "sentSince", "must be a timestamp with an offset"),
        ({"sentSince": 1746403200000}, "sentSince", "must be a timestamp with an offset"),
        ({"sentSince": "2026-05-05T00:00:00"}, "sentSince", "must be a timestamp with an offset"),
        ({"sentUntil": "2026-02-30T00:00:00Z"}, "sentUntil", "must be a timestamp"),
        ({"sentUntil": "0001-01-01T00:00:00+14:00"}, "sentUntil", "must be a timestamp"),
        ({"sentUntil": "2026-05-04T00:00:00Z"}, "sentSince", "must not be after sentUntil"),
        ({"timeToDeliver": {}}, "timeToDeliver", "must be a list"),
        ({"timeToDeliver": ["SECONDS_1"]}, "timeToDeliver[0]", "must be an object"),
        ({"timeToDeliver": [{"from": "SOON"}]}, "timeToDeliver[0].from", "is no time bucket"),
        ({"timeToDeliver": [{"until": "DAYS_1"}]}, "timeToDeliver[0].until", "is not known here"),
        (
            {"timeToClickFromSeen": [{}, {"from": "DAYS_1", "to": "DAYS_1"}]},
            "timeToClickFromSeen[1]",
            "must have a `from` that is below its `to`",
        ),
        ({"timeToDeliver": [{"to": "SECONDS_0"}]}, "timeToDeliver[0]", "below its `to`"),
        ({"accountKey": ["a"]}, "accountKey", "is not known here"),
        ({"sender; drop table": ["a"]}, "sender; drop table", "is not known here"),
    ],
)
def test_a_filter_that_cannot_be_is_named_with_what_it_must_be(filters, place, words):
    if "channelCode" in filters or "channelCodes" in filters:
        assert words in refusals(body(filters))[f"request.filterBy.{place}"]
    else:
        # The one thing that is wrong is the one thing that is told.
        (found,) = refusals(body(filters)).items()
        assert found[0] == f"request.filterBy.{place}"
        assert words in found[1]


@pytest.mark.parametrize(
    ("members", "place", "words"),
    [
        ({"filterBy": []}, "filterBy", "must be an object"),
        ({"filterBy": None}, "filterBy", "must be an object"),
        ({"metrics": None}, "metrics", "must be a list"),
        ({"metrics": []}, "metrics", "must name at least one"),
        ({"metrics": ["total_traffic_count"]}, "metrics[0]", "is no metric of the catalogue"),
        ({"metrics": [{}]}, "metrics[0]", "must be a text"),
        (
            {"metrics": ["TOTAL_COST_CENTS", "TOTAL_COST_CENTS"]},
            "metrics[1]",
            "repeats 'TOTAL_COST_CENTS'",
        ),
        ({"aggregateBy": "DAY"}, "aggregateBy", "must be a list"),
        ({"aggregateBy": ["MINUTE"]}, "aggregateBy[0]", "'MINUTE' is no dimension"),
        ({"aggregateBy": ["DAY", "URL", "DAY"]}, "aggregateBy[2]", "repeats 'DAY'"),
        (
            {"aggregateBy": ["URL"]},
            "metrics[0]",
            "TOTAL_TRAFFIC_COUNT does not go with the dimension URL",
        ),
        ({"limit": 5}, "limit", "is not known here"),
        ({"includeComponents": True}, "includeComponents", "is not known here"),
        ({"a\udfffb": 1}, "", "must be valid Unicode text"),
    ],
)
def test_a_member_that_cannot_be_is_named_with_what_it_must_be(members, place, words):
    found = refusals(body(**members))
    assert words in found[f"request.{place}" if place else "request"]


@pytest.mark.parametrize("asked", [None, [], "text", 5, [body()]])
def test_what_is_no_object_is_refused_as_a_whole(asked):
    assert refusals(asked) == {"request": "must be an object"}


def test_all_that_is_wrong_is_told_at_once_with_the_path_of_each():
    asked = body(
        {
            "sentUntil": "2026-05-01T00:00:00Z",
            "channelCodes": ["SMS", "FAX", 5],
            "direction": "IN",
            "directions": ["OUT"],
            "countryIds": [191, None],
            "more": 1,
        },
        aggregateBy=["URL", "DAYS", "URL"],
        metrics=["TOTAL_CLICKS_COUNT", "TOTAL_COST_CENTS", "TOTAL_CLICKS_COUNT", "X"],
        other=None,
    )
    assert set(refusals(asked, prefix="")) == {
        "filterBy.channelCodes[1]", "filterBy.channelCodes[2]", "filterBy.direction",
        "filterBy.directions[0]", "filterBy.countryIds[1]", "filterBy.more", "filterBy.sentSince",
        "aggregateBy[1]", "aggregateBy[2]", "metrics[1]", "metrics[2]", "metrics[3]", "other",
    }  # fmt: skip


def test_an_empty_object_lacks_what_is_required():
    assert refusals({}) == {
        "request.filterBy": "is required",
        "request.metrics": "is required",
    }
    missing = refusals({"filterBy": {}, "metrics": ["TOTAL_COST_CENTS"]})
    assert missing == {
        "request.filterBy.sentSince": "is required",
        "request.filterBy.sentUntil": "is required",
        "request.filterBy.channelCodes": "must name at least one channel",
    }


def test_no_refusal_repeats_a_long_or_unprintable_value_in_full():
    found = refusals(body(metrics=["\ud800\n" + "x" * 10_000], **{"y" * 10_000: 1}))
    assert all(len(text) < 300 for item in found.items() for text in item)
    for item in found.items():
        "".join(item).encode()


def test_our_own_query_needs_no_channel_and_knows_components():
    question = read_question(
        {"filterBy": PERIOD, "metrics": ["CLICK_TO_OPEN_RATE"], "includeComponents": True},
        QUERY_ROUTE,
    )
    assert "CHANNEL_CODE" not in question.filters
    assert question.include_components
    assert refusals(body({"channelCodes": []}), QUERY_ROUTE, "") == {
        "filterBy.channelCodes": "must name at least one channel"
    }


def test_null_and_an_empty_list_are_no_filter():
    nothing = {
        name: value
        for field in FilterBy.model_fields.values()
        if (name := field.alias) not in (*PERIOD, "channelCodes", "channelCode")
        for value in [None]
    }
    empty = {name: [] for name in ("senders", "directions", "timeToDeliver", "accountKeys")}
    for filters in (nothing, empty, {"channelCode": None}):
        question = read_question(body(filters, aggregateBy=None), AGGREGATE_ROUTE)
        assert question.filters == {"CHANNEL_CODE": ("SMS",)}
        assert question.account_keys == ()
        assert not question.include_subaccounts


def test_the_spellings_of_the_source_mean_the_same_as_one_value_and_as_a_list():
    for spelled in ("INBOUND", ["INBOUND"]):
        asked = {"filterBy": PERIOD | {"direction": spelled, "channelCode": "FB"}}
        question = read_question(asked | {"metrics": ["TOTAL_COST_CENTS"]}, AGGREGATE_ROUTE)
        assert question.filters == {"DIRECTION": ("INBOUND",), "CHANNEL_CODE": ("FB",)}


def test_filters_are_sets_and_both_directions_are_no_filter():
    question = read_question(
        body({"senders": ["b", "a", "b"], "directions": ["INBOUND", "OUTBOUND", "INBOUND"]}),
        AGGREGATE_ROUTE,
    )
    assert question.filters == {"CHANNEL_CODE": ("SMS",), "SENDER": ("b", "a")}


def test_time_spans_are_the_buckets_from_one_up_to_another():
    def buckets(*spans):
        question = read_question(body({"timeToDeliver": list(spans)}), AGGREGATE_ROUTE)
        return question.filters["TIME_TO_DELIVER"]

    assert buckets({"from": "SECONDS_5", "to": "SECONDS_15"}) == ("SECONDS_5", "SECONDS_10")
    assert buckets({"from": "DAYS_2"}, {"to": "SECONDS_1"}) == ("SECONDS_0", "DAYS_2", "DAYS_3")
    assert buckets({"from": None}) == buckets({}) == tuple(catalogue().time_buckets)


def test_the_period_is_read_in_any_offset_and_may_be_empty():
    moment = {"sentSince": "2026-05-05T02:30:00.000+0230", "sentUntil": "2026-05-05T00:00:00Z"}
    question = read_question(body(moment), AGGREGATE_ROUTE)
    assert question.since == question.until == datetime(2026, 5, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ((), ("CHANNEL_CODE",)),
        (("DAY",), ("CHANNEL_CODE", "DAY")),
        (("SENDER", "CHANNEL_NAME"), ("SENDER", "CHANNEL_NAME")),
        (("CHANNEL_NAME", "CHANNEL_CODE"), ("CHANNEL_NAME", "CHANNEL_CODE")),
        (("YEAR", "CHANNEL_CODE", "HOUR", "MONTH"), ("CHANNEL_CODE", "HOUR")),
        (
            ("MONTH", "WEEK_SUNDAY_START", "CHANNEL_CODE", "WEEK_MONDAY_START"),
            ("WEEK_SUNDAY_START", "CHANNEL_CODE"),
        ),
        (("QUARTER", "YEAR"), ("CHANNEL_CODE", "QUARTER")),
    ],
)
def test_the_channel_is_forced_and_the_finest_time_dimension_stays(asked, kept):
    assert kept_dimensions(asked) == kept


def test_members_of_filter_by_are_those_of_the_catalogue():
    members = {field.alias for field in FilterBy.model_fields.values()}
    of_catalogue = {d.filter for d in catalogue().dimensions.values() if d.filter}
    others = {"includeSubaccounts", "sentSince", "sentUntil", *OTHER_SPELLINGS}
    assert members == of_catalogue | others
    assert set(known_values()) <= members


def test_sender_types_are_those_of_messages_and_of_channels_that_map_to_themselves():
    known = set(known_values()["senderTypes"])
    assert {"10DLC", "DOMAIN", "VIBER", "RCS"} <= known
    assert not known & {"SMS", "MMS", "EMAIL"}


def test_the_body_documents_itself_with_the_names_on_the_wire():
    for model in (QuestionBody, ExtendedQuestionBody):
        schema = model.model_json_schema()
        assert set(schema["required"]) == {"filterBy", "metrics"}
        assert "sentSince" in schema["$defs"]["FilterBy"]["required"]
        assert "TOTAL_COST_CENTS" in schema["properties"]["metrics"]["items"]["enum"]


def test_a_whole_number_may_be_spelled_with_a_zero_fraction():
    asked = body({"countryIds": [191.0, 40], "communicationIds": [-0.0]})
    filters = read_question(asked, QUERY_ROUTE).filters
    assert filters["COUNTRY_ID"] == (191, 40)
    assert filters["COMMUNICATION"] == (0,)
    for number in (1.5, float("inf"), float("nan"), 1e300):
        assert "filterBy.countryIds[0]" in refusals(body({"countryIds": [number]}), prefix="")


def unknown(number):
    return {str(name): 1 for name in range(number)}


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (body(**unknown(5_000)), 5_000),
        (body(unknown(5_000)), 5_000),
        (body({"timeToDeliver": [{"x": 1, "y": 1}] * 2_000}), 4_000),
        (body({"networkIds": ["x"] * 3_000}, more=1), 3_001),
        (body(metrics=["no metric"] * 2_000), 3_999),
        (body(metrics=["no metric"] * 1_000_000), 1),
        (body(aggregateBy=["no dimension"] * 10_001), 1),
    ],
)
def test_of_many_violations_a_thousand_are_told_and_the_others_counted(asked, count):
    with pytest.raises(InvalidQuestionError) as caught:
        read_question(asked, QUERY_ROUTE)
    assert len(caught.value.violations) == min(count, 1000)
    assert len(caught.value.violations) + caught.value.unlisted == count
