"""Random questions: the planner's SQL, over the marts and over the messages, and the reference."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hostile import drawn, every_bound, every_tie
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference.metrics import answer, columns
from reference.metrics import requested_period as period_of_the_reference
from reference.records import with_descendants

from endpoint.planning.accounts import accounts_asked
from endpoint.planning.answer import run
from endpoint.planning.periods import requested_period
from endpoint.planning.planner import plan
from endpoint.planning.question import QUERY_ROUTE, read_question
from endpoint.planning.time_zones import Offsets

from .questions import askings
from .worlds import World, build_hostile_world, build_world

MESSAGES = 250
SETS = 80
QUESTIONS = 88
WORLDS: dict[str, Callable[[Path], World]] = {
    **{f"world-{seed}": lambda _, seed=seed: build_world(seed, MESSAGES) for seed in (0, 2)},
    "bounds-and-ties": lambda folder: build_hostile_world(every_bound() + every_tie(), folder),
    "hostile": lambda folder: build_hostile_world(drawn(SETS, seed=11), folder),
}
# Which tables answered, over all worlds; by world, answers that had rows, and all comparisons.
_answered_by: Counter[str] = Counter()
_with_rows: Counter[str] = Counter()
_compared: Counter[str] = Counter()


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return WORLDS[request.param](tmp_path_factory.mktemp("world"))


@settings(
    max_examples=QUESTIONS,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_marts_messages_and_reference_agree_on_random_questions(world, data):
    asking = data.draw(askings(world), "asked")
    body, own = asking.body, asking.own
    visible = None if own is None else with_descendants(world.accounts, [own])
    question = read_question(body, QUERY_ROUTE)
    period = requested_period(
        question.since,
        question.until,
        as_of=asking.as_of,
        time_dimension=question.time_dimension if asking.widens else None,
    )
    assert period == period_of_the_reference(
        body["filterBy"]["sentSince"],
        body["filterBy"]["sentUntil"],
        as_of=asking.as_of,
        aggregate_by=body["aggregateBy"],
        widens_to_dimension=asking.widens,
    )
    period = (period[0] + asking.shift, period[1] + asking.shift)
    expected = answer(
        world.outcomes,
        world.accounts,
        aggregate_by=body["aggregateBy"],
        filter_by=body["filterBy"] | {"sentSince": period[0], "sentUntil": period[1]},
        metrics=body["metrics"],
        key_account=own,
        include_components=body["includeComponents"],
        empty_rate=asking.empty_rate,
        zone=asking.zone or "UTC",
    )
    accounts = accounts_asked(world.connection, question, own=own, visible=visible)
    for from_messages in (False, True):
        planned = plan(
            question,
            world.tables,
            period=period,
            accounts=accounts,
            from_messages=from_messages,
            empty_rate=asking.empty_rate,
            offsets=asking.zone and Offsets.over(ZoneInfo(asking.zone), period),
        )
        found = run(world.connection, planned.ready())
        assert found.rows() == expected, planned.explain()
        assert [(c.name, c.data_type) for c in found.columns] == columns(
            body["aggregateBy"],
            body["metrics"],
            include_components=body["includeComponents"],
        )
        assert found.table.column_names == [column.name for column in found.columns]
        _compared[world.name] += 1
        if not from_messages:
            _answered_by[planned.table.name] += 1
            if planned.offsets:
                _answered_by["local clock"] += 1
            if planned.helper:
                _answered_by["helper"] += 1
    _with_rows[world.name] += bool(expected)


def test_random_questions_were_of_all_kinds():
    if len(_compared) < len(WORLDS):
        pytest.skip("the questions were asked in other processes")
    assert sum(_compared.values()) >= 700
    # Questions that all have no rows would agree too.
    assert min(_with_rows.values()) > QUESTIONS / 6, _with_rows
    kinds = {
        "daily": 60,
        "hourly": 60,
        "messages": 25,
        "url_clicks": 5,
        "helper": 25,
        "local clock": 30,
    }
    for kind, least in kinds.items():
        found = sum(n for name, n in _answered_by.items() if name.startswith(kind))
        assert found >= least, (kind, _answered_by)
    assert len(_answered_by) > 25, _answered_by
