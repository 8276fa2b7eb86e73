"""Lines: of one account only so many tasks run at once, its others wait and nobody else's do.

What a task does, and that none is forgotten when its process ends, is the worker's affair.
"""

import threading
from collections import Counter


class Lines:
    """The tasks that run, and of each account those that wait, first come first served."""

    def __init__(self, of_one_account: int) -> None:
        self._of_one_account = of_one_account
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._running_of: Counter[str] = Counter()
        self._waiting: dict[str, dict[str, None]] = {}

    def begin(self, account_key: str, task: str) -> bool:
        """Whether a task may run now; else it is running already, or waits until `end` names it."""
        with self._lock:
            if task in self._running:
                return False
            if self._running_of[account_key] >= self._of_one_account:
                self._waiting.setdefault(account_key, {})[task] = None
                return False
            self._running.add(task)
            self._running_of[account_key] += 1
            return True

    def end(self, account_key: str, task: str) -> str | None:
        """End a task that began; the one that may be begun instead, which waits no longer."""
        with self._lock:
            self._running.discard(task)
            self._running_of[account_key] -= 1
            if not self._running_of[account_key]:
                del self._running_of[account_key]
            waiting = self._waiting.get(account_key, {})
            following = next(iter(waiting), None)
            if following is not None:
                del waiting[following]
            if not waiting:
                self._waiting.pop(account_key, None)
            return following
