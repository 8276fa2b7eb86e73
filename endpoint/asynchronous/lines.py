"""Lines: of one account only so many tasks run at once, its others wait and nobody else's do.

What a task does, and that none is forgotten when its process ends, is the worker's affair.
"""

import threading
from collections import Counter


class Lines:
    """The tasks that run, and of each account those that wait, first come first served.

    Who is called keeps the place that became free, so that nobody who comes later gets in before.
    """

    def __init__(self, of_one_account: int) -> None:
        self._of_one_account = of_one_account
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._called: dict[str, str] = {}
        self._places_taken: Counter[str] = Counter()
        self._waiting: dict[str, dict[str, None]] = {}

    def begin(self, account_key: str, task: str) -> bool:
        """Whether a task may run now; else it is running already, or waits until it is called."""
        with self._lock:
            if task in self._running:
                return False
            if self._called.pop(task, None) is None:
                if self._places_taken[account_key] >= self._of_one_account:
                    self._waiting.setdefault(account_key, {}).setdefault(task)
                    return False
                self._places_taken[account_key] += 1
            self._running.add(task)
            return True

    def end(self, account_key: str, task: str) -> str | None:
        """End a task that began; the one that is called instead, which waits no longer."""
        with self._lock:
            self._running.discard(task)
            return self._call_next(account_key)

    def give_up(self, task: str) -> str | None:
        """Note that a task, maybe called, will not begin; the one that is called instead."""
        with self._lock:
            account_key = self._called.pop(task, None)
            return None if account_key is None else self._call_next(account_key)

    def _call_next(self, account_key: str) -> str | None:
        """Give a place to the first who waits, or give it back."""
        waiting = self._waiting.get(account_key)
        if not waiting:
            self._places_taken[account_key] -= 1
            if not self._places_taken[account_key]:
                del self._places_taken[account_key]
            return None
        following = next(iter(waiting))
        del waiting[following]
        if not waiting:
            del self._waiting[account_key]
        self._called[following] = account_key
        return following
