"""Reads request bodies: bytes within a limit into JSON values, or one sentence that says why not.

What the members of a body mean is said elsewhere.
"""

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

MAX_BODY_BYTES = 4 * 1024 * 1024
BODY_SECONDS = 30.0


class UnusableBodyError(Exception):
    """A body that is no JSON value that can be taken; `problem` says what it must be."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


async def read_body(request: Request) -> bytes | UnusableBodyError:
    """The bytes of a body; at most the limit is read, and not for longer than half a minute.

    What is too long or too late is told, not raised.
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > MAX_BODY_BYTES:
                    return UnusableBodyError(f"must not be longer than {MAX_BODY_BYTES:,} bytes")
    except ClientDisconnect:
        return UnusableBodyError("must arrive whole")
    except TimeoutError:
        return UnusableBodyError(f"must arrive whole within {BODY_SECONDS:.0f} seconds")
    return b"".join(parts)


def read_json(body: bytes | UnusableBodyError) -> Any:
    """The JSON value that a body spells. Raises UnusableBodyError.

    Numbers that JSON has no place for and members that stand twice are refused.
    """
    if isinstance(body, UnusableBodyError):
        raise body
    if not body:
        raise UnusableBodyError("must not be empty")
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise UnusableBodyError("must be JSON in UTF-8, of moderate depth") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise UnusableBodyError("must not have a member twice in one object")
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")
