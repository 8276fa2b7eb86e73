"""Whose messages a question is about.

Which accounts an asker may see is decided by the caller; here that limit is applied, and accounts
are followed down to their sub-accounts.
"""

from collections.abc import Collection, Iterable

import duckdb

from endpoint.planning.question import Question


def accounts_asked(
    connection: duckdb.DuckDBPyConnection,
    question: Question,
    *,
    own: str | None,
    visible: Collection[str] | None,
) -> list[str] | None:
    """The account keys that the question counts, sorted; None stands for all there are.

    own: the asker's account, which is meant where the question names none; None where the asker
    owns the warehouse. visible: the accounts that the asker may see; None: all. An account that is
    not visible is treated as one that does not exist, sub-accounts included. `connection` leads to
    the file whose accounts are those of now.
    """
    asked: Iterable[str] = question.account_keys
    if not asked:
        if own is None:
            return None if visible is None else sorted(visible)
        asked = [own]
    if visible is not None:
        asked = set(asked) & set(visible)
    found = set(asked)
    if question.include_subaccounts:
        found = with_descendants(connection, found)
        if visible is not None:
            found &= set(visible)
    return sorted(found)


def with_descendants(connection: duckdb.DuckDBPyConnection, keys: Iterable[str]) -> set[str]:
    """The accounts and everything below them, to any depth; keys that are not known included."""
    below: dict[str, list[str]] = {}
    for key, parent in connection.execute(
        "select account_key, parent_account_key from accounts where parent_account_key is not null"
    ).fetchall():
        below.setdefault(parent, []).append(key)
    found: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting.extend(below.get(key, ()))
    return found
