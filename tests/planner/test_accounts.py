"""Whose messages a question counts, for every kind of asker."""

from datetime import UTC, datetime

import duckdb
import pytest

from endpoint.planning.accounts import accounts_asked
from endpoint.planning.question import Question

DEPTH = 3000


@pytest.fixture(scope="module")
def connection():
    connection = duckdb.connect()
    connection.execute(
        "create table accounts as select * from (values ('a', null), ('b', 'a'), ('c', 'b'), "
        "('e', null), ('x', 'gone')) as t(account_key, parent_account_key)"
    )
    connection.execute(
        "insert into accounts select 'deep' || range, 'deep' || (range - 1) from range(1, ?)",
        [DEPTH],
    )
    return connection


def question(*keys, subaccounts=False):
    moment = datetime(2026, 5, 5, tzinfo=UTC)
    return Question(moment, moment, ("CHANNEL_CODE",), ("TOTAL_COST_CENTS",), {}, keys, subaccounts)


@pytest.mark.parametrize(
    ("asked", "own", "visible", "found"),
    [
        (question(), "b", {"b", "c"}, ["b"]),
        (question(subaccounts=True), "b", {"b", "c"}, ["b", "c"]),
        (question("c"), "b", {"b", "c"}, ["c"]),
        (question("c", "e", "a"), "b", {"b", "c"}, ["c"]),
        (question("e"), "b", {"b", "c"}, []),
        # An account above the asker's is one that does not exist, and so has nothing below it.
        (question("a", subaccounts=True), "b", {"b", "c"}, []),
        (question("nobody", subaccounts=True), "b", {"b", "c"}, []),
        (question(), None, None, None),
        (question(subaccounts=True), None, None, None),
        (question("a"), None, None, ["a"]),
        (question("a", subaccounts=True), None, None, ["a", "b", "c"]),
        (question("gone", subaccounts=True), None, None, ["gone", "x"]),
        (question("it's"), None, None, ["it's"]),
    ],
)
def test_accounts_that_count(connection, asked, own, visible, found):
    assert accounts_asked(connection, asked, own=own, visible=visible) == found


def test_sub_accounts_are_followed_to_any_depth(connection):
    found = accounts_asked(connection, question("deep0", subaccounts=True), own=None, visible=None)
    assert len(found) == DEPTH
