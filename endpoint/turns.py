"""Turns: how many requests of one account, and how many questions in all, are worked on at once.

An account whose questions are large waits for itself and for nobody else, and what stands in memory
at one time is bounded. A turn lasts from before a body is read until the answer was sent, so a
client that reads slowly holds up its own account alone. Of several worker processes each has its
share of the turns, and what is waited for is one of the process that the request came to. Which
route needs one is said where routes are.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from endpoint.errors import rate_limited

# A question has the threads of DuckDB besides its own; more at once gain nothing but memory.
_CORES = len(os.sched_getaffinity(0))
QUESTIONS_AT_ONCE = max(8, 4 * _CORES)
MOST_WAITING = 200
_RETRY_SECONDS = 1
_STATE = "give_back_turn"


class _Line:
    """The turns of one account, and how many requests have one or wait for one."""

    def __init__(self, turns: int) -> None:
        self.free = asyncio.Semaphore(turns)
        self.length = 0


class Turns:
    """Gives turns; all of it happens in the thread of the event loop."""

    def __init__(self, workers: int = 1) -> None:
        """workers: how many processes share the turns."""
        self.at_once = max(2, QUESTIONS_AT_ONCE // workers)
        self.of_one_account = self.at_once // 2
        self._workers = workers
        self._lines: dict[str, _Line] = {}
        self._questions = ThreadPoolExecutor(self.at_once, thread_name_prefix="question")

    def length(self, account_key: str) -> int:
        """How many requests of an account have a turn or wait for one."""
        line = self._lines.get(account_key)
        return line.length if line else 0

    async def take(self, request: Request, account_key: str) -> None:
        """Wait for a turn of the account, which ends with the request.

        Raises ApiError 429 where too many requests of the account wait already.
        """
        line = self._lines.setdefault(account_key, _Line(self.of_one_account))
        if line.length >= self.of_one_account + MOST_WAITING // self._workers:
            raise rate_limited(_RETRY_SECONDS)
        line.length += 1
        try:
            await line.free.acquire()
        except BaseException:
            self._leave(account_key, line)
            raise
        request.scope["state"][_STATE] = partial(self._give_back, account_key, line)

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What `work` returns, run in a thread once fewer than the most questions are."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._questions, work, *arguments)

    def close(self) -> None:
        """Return once no question is worked on; those that were not begun never are."""
        self._questions.shutdown(cancel_futures=True)

    def _give_back(self, account_key: str, line: _Line) -> None:
        line.free.release()
        self._leave(account_key, line)

    def _leave(self, account_key: str, line: _Line) -> None:
        line.length -= 1
        if not line.length:
            del self._lines[account_key]


class TurnsGivenBack:
    """ASGI middleware: the turn of a request ends with it, however it ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            give_back = scope.get("state", {}).pop(_STATE, None)
            if give_back is not None:
                give_back()
