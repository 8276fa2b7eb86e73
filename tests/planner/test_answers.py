"""Random questions: the planner's SQL, over the marts and over the messages, and the reference."""

import random
from collections import Counter
from datetime import timedelta

import pytest
from reference.metrics import DIMENSION_NAMES, METRICS, URL_METRICS, answer, columns
from reference.metrics import requested_period as period_of_the_reference
from reference.outcomes import BUCKET_NAMES
from reference.records import with_descendants

from endpoint.planning.accounts import accounts_asked
from endpoint.planning.answer import run
from endpoint.planning.periods import requested_period
from endpoint.planning.planner import plan
from endpoint.planning.question import QUERY_ROUTE, known_values, read_question
from msgmetrics.catalogue import catalogue

from .worlds import PARENTS, World, build_world

SEEDS = range(5)
MESSAGES = 400
QUESTIONS = 70

_TIMES = ("HOUR", "DAY", "DAY", "MONTH", "QUARTER", "YEAR", "WEEK_SATURDAY_START",
          "WEEK_SUNDAY_START", "WEEK_MONDAY_START")  # fmt: skip
_OTHERS = tuple(name for name in DIMENSION_NAMES if name not in _TIMES and name != "URL")
# Members of filterBy, and where the values that messages have are found.
_FILTERS = {
    "statuses": "status", "errorCodes": "error_code", "senders": "sender",
    "communicationIds": "communication_id", "campaignReferenceIds": "campaign_reference_id",
    "networkIds": "network_id", "countryIds": "country_id", "statusGroups": "status_group",
    "errorGroups": "error_group", "directions": "direction", "channelCodes": "channel_code",
    "trafficTypes": "traffic_type", "senderTypes": "sender_type",
    "applicationId": "application_id", "entityId": "entity_id",
}  # fmt: skip
_DURATIONS = ("timeToDeliver", "timeToClickFromSeen", "timeToClickFromDelivered",
              "timeToSeenFromDelivered")  # fmt: skip
# Which tables answered, over all worlds.
_answered_by: Counter[str] = Counter()


def random_filters(chance: random.Random, world: World, mart: str | None) -> dict:
    """Filters over anything or, for a mart, over what it has."""
    some = list(world.outcomes.values())
    filters = {}
    names = [*_FILTERS, *_DURATIONS]
    if mart is not None:
        of_mart = [d.filter for d in catalogue().dimensions.values() if d.mart in (mart, "channel")]
        names = [name for name in names if name in of_mart]
    names = chance.sample(names, min(len(names), chance.choice((0, 0, 1, 1, 2, 3))))
    if chance.random() < 0.45:
        names.append("directions")
    for name in names:
        if name in _DURATIONS:
            filters[name] = [random_span(chance) for _ in range(chance.choice((1, 1, 2)))]
            continue
        values = [getattr(chance.choice(some), _FILTERS[name]) for _ in range(3)]
        values = [value for value in values if value is not None]
        if name in ("applicationId", "entityId"):
            filters[name] = chance.choice([*values, None])
        elif name == "directions":
            filters[name] = chance.sample(known_values()[name], chance.choice((1, 1, 1, 2)))
        elif name in known_values() and name != "channelCodes":
            filters[name] = chance.sample(known_values()[name], 1) + values[:2]
        else:
            filters[name] = values
    if filters.get("channelCodes") == []:
        del filters["channelCodes"]
    for spelling, name in (("direction", "directions"), ("channelCode", "channelCodes")):
        if name in filters and chance.random() < 0.2:
            values = filters.pop(name)
            filters[spelling] = chance.choice([values, values[0]])
    return filters


def random_span(chance: random.Random) -> dict:
    first, end = sorted(chance.sample(range(len(BUCKET_NAMES)), 2))
    span = {"from": BUCKET_NAMES[first], "to": BUCKET_NAMES[end]}
    for name in chance.choice(((), (), ("from",), ("to",), ("from", "to"))):
        del span[name]
    return span


def random_question(chance: random.Random, world: World) -> dict:
    by_url = chance.random() < 0.15
    mart = chance.choice((*catalogue().marts, *([None] * 8)))
    others = [
        name
        for name in _OTHERS
        if mart is None or catalogue().dimensions[name].mart in (mart, "account", "channel")
    ]
    dimensions = [
        *chance.sample(_TIMES, chance.choice((0, 1, 1, 1, 2))),
        *chance.sample(others, min(len(others), chance.choice((0, 1, 1, 2, 4)))),
        *(["URL"] if by_url else []),
    ]
    dimensions = list(dict.fromkeys(dimensions))
    chance.shuffle(dimensions)
    asked = list(URL_METRICS if by_url else METRICS)
    length = (world.until - world.since) // timedelta(hours=1)
    unit = chance.choice((timedelta(hours=1), timedelta(days=1)))
    since = world.since + chance.randrange(-2, length) * timedelta(hours=1)
    since -= (since - world.since) % unit
    until = since + chance.randrange(length * timedelta(hours=1) // unit + 2) * unit
    if chance.random() < 0.3:
        until += timedelta(minutes=chance.randrange(60), microseconds=chance.randrange(10**6))
    return {
        "filterBy": {
            **random_filters(chance, world, mart),
            "sentSince": since.isoformat(),
            "sentUntil": until.isoformat(),
        },
        "aggregateBy": dimensions,
        "metrics": chance.sample(asked, min(len(asked), chance.choice((1, 2, 5, 35)))),
        "includeComponents": chance.random() < 0.3,
    }


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"world-{seed}")
def world(request) -> World:
    return build_world(request.param, MESSAGES)


def test_marts_messages_and_reference_agree_on_random_questions(world, request):
    chance = random.Random(request.node.callspec.params["world"])
    rows = 0
    for number in range(QUESTIONS):
        body = random_question(chance, world)
        own = chance.choice((None, "a", "b", "d", "stray"))
        visible = None if own is None else with_descendants(world.accounts, [own])
        if chance.random() < 0.5:
            keys = sorted({*PARENTS, "nobody"} if visible is None else {*visible, "e", "nobody"})
            body["filterBy"]["accountKeys"] = chance.sample(keys, min(len(keys), 2))
        body["filterBy"]["includeSubaccounts"] = chance.choice((None, False, True, True))

        question = read_question(body, QUERY_ROUTE)
        as_of = world.since + (world.until - world.since) * chance.choice((0.5, 0.9, 2))
        widens = chance.random() < 0.5
        period = requested_period(
            question.since,
            question.until,
            as_of=as_of,
            time_dimension=question.time_dimension if widens else None,
        )
        assert period == period_of_the_reference(
            body["filterBy"]["sentSince"],
            body["filterBy"]["sentUntil"],
            as_of=as_of,
            aggregate_by=body["aggregateBy"],
            widens_to_dimension=widens,
        )
        if chance.random() < 0.1:
            # What no mart can answer: parts of hours.
            period = (period[0] + timedelta(seconds=1), period[1] + timedelta(seconds=1))
        empty_rate = chance.choice((None, 0.0))
        expected = answer(
            world.outcomes,
            world.accounts,
            aggregate_by=body["aggregateBy"],
            filter_by=body["filterBy"] | {"sentSince": period[0], "sentUntil": period[1]},
            metrics=body["metrics"],
            key_account=own,
            include_components=body["includeComponents"],
            empty_rate=empty_rate,
        )
        accounts = accounts_asked(world.connection, question, own=own, visible=visible)
        for from_messages in (False, True):
            planned = plan(
                question,
                world.tables,
                period=period,
                accounts=accounts,
                from_messages=from_messages,
                empty_rate=empty_rate,
            )
            found = run(world.connection, planned)
            assert found.rows() == expected, (number, body, own, planned.explain())
            assert [(c.name, c.data_type) for c in found.columns] == columns(
                body["aggregateBy"],
                body["metrics"],
                include_components=body["includeComponents"],
            )
            assert found.table.column_names == [column.name for column in found.columns]
            if not from_messages:
                _answered_by[planned.table.name] += 1
                if planned.helper:
                    _answered_by["helper"] += 1
        rows += len(expected)
    # Questions that all have no rows would agree too.
    assert rows > QUESTIONS


def test_random_questions_were_answered_from_tables_of_all_kinds():
    if sum(_answered_by.values()) < QUESTIONS * len(SEEDS):
        pytest.skip("the questions were asked in other processes")
    kinds = {"daily": 100, "hourly": 20, "messages": 40, "url_clicks": 5, "helper": 50}
    for kind, least in kinds.items():
        assert sum(n for name, n in _answered_by.items() if name.startswith(kind)) >= least
    assert len(_answered_by) > 30, _answered_by
