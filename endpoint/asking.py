"""A question put to a snapshot on behalf of an account: whose messages count, and the rows.

Both routes that take a question go through here, so that there is one place where an account's
rights meet the accounts that were asked for. Errors of the routes and shapes of answers are not
here.
"""

from collections.abc import Collection

from endpoint.planning.accounts import accounts_asked
from endpoint.planning.answer import Answer, run
from endpoint.planning.periods import Period
from endpoint.planning.planner import PlanAsked
from endpoint.planning.question import Question
from endpoint.planning.time_zones import Offsets
from endpoint.snapshots import Snapshot

MAX_ROWS = 1_000_000


def accounts_of(question: Question, now: Snapshot, account_key: str) -> list[str]:
    """The accounts that a question of an account counts; rights are those of the snapshot `now`."""
    visible = now.family(account_key)
    if not question.account_keys:
        return visible if question.include_subaccounts else [account_key]
    with now.cursor() as connection:
        found = accounts_asked(connection, question, own=account_key, visible=visible)
    return found if found is not None else visible


def ask(
    question: Question,
    snapshot: Snapshot,
    *,
    accounts: Collection[str],
    period: Period,
    empty_rate: float | None = None,
    offsets: Offsets | None = None,
    seconds: float | None = None,
) -> Answer:
    """The rows. Raises TooManyRowsError where there are more than a million.

    seconds: how long it may take, where that differs from what is answered at once.
    """
    planned = snapshot.planned(
        PlanAsked(question, period, sorted(accounts), empty_rate, offsets, MAX_ROWS)
    )
    with snapshot.cursor(seconds) as connection:
        return run(connection, planned)
