"""Who asks: the API key of a request, its rate limit and its scopes.

What the key's account may see is not settled here; that follows from the published data.
"""

import asyncio
import sqlite3
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import Request

from endpoint.errors import forbidden, rate_limited, unauthorized
from endpoint.rate_limit import RateLimiter, WouldWaitError
from msgmetrics.keys import ApiKey, KeyStore

# Threads that wait for the files of keys and rates: none of those by which all else is done.
_THREADS_THAT_WAIT = 40


class Gate:
    """Lets requests in by their key, and notes the key's label for the log."""

    def __init__(self, keys: KeyStore, rate_limiter: RateLimiter) -> None:
        self._keys = keys
        self._rate_limiter = rate_limiter
        self._waiting = ThreadPoolExecutor(_THREADS_THAT_WAIT, thread_name_prefix="gate")

    def check(self) -> None:
        """Raises sqlite3.Error where no key can be looked up."""
        self._keys.check()

    async def admitted(self, request: Request, scope: str) -> ApiKey:
        """The same as `admit`, in the thread of the event loop unless it would have to wait there.

        To have a thread do it takes longer than to do it.
        """
        try:
            return self.admit(request, scope, may_wait=False)
        except WouldWaitError:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._waiting, self.admit, request, scope)

    def admit(
        self,
        request: Request,
        scope: str,
        schemes: Collection[str] = ("Bearer",),
        *,
        may_wait: bool = True,
    ) -> ApiKey:
        """The live key of a request that has the scope. Raises ApiError 401, 429, 403, in turn.

        Raises WouldWaitError where it may not wait for others that count requests, and would.
        """
        try:
            key = self._key_of(request, schemes, may_wait=may_wait)
        except sqlite3.OperationalError:
            if may_wait:
                raise
            raise WouldWaitError from None
        if key is None:
            raise unauthorized(next(iter(schemes)))
        request.state.key_label = key.label
        wait = self._rate_limiter.admit(key.key_id, may_wait=may_wait)
        if wait is not None:
            raise rate_limited(wait)
        if scope not in key.scopes:
            raise forbidden()
        return key

    def _key_of(
        self, request: Request, schemes: Collection[str], *, may_wait: bool
    ) -> ApiKey | None:
        headers = request.headers.getlist("authorization")
        if len(headers) != 1:
            return None
        scheme, _, text = headers[0].strip().partition(" ")
        if scheme.lower() not in {known.lower() for known in schemes}:
            return None
        text = text.strip()
        return self._keys.find(text, may_wait=may_wait) if text else None
