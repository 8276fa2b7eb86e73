"""Threads of DuckDB in one of several worker processes: all cores for a question that is alone.

Beside others it has its worker's share of them: small questions gain little by a second thread, and
cost the processors more. How many workers there are is said in server.py, how many questions are
worked on at once in turns.py.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import duckdb
import structlog

# Questions that come one after the other are alone once none met another for so long; to change the
# number of threads again and again would cost more than it gains.
_ALONE_SECONDS = 1.0

_log = structlog.get_logger("endpoint")


class ThreadShare:
    """The threads of one instance of DuckDB; safe from several threads at once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, workers: int) -> None:
        """workers: how many processes share the cores."""
        ((self._all,),) = connection.execute("select current_setting('threads')").fetchall()
        self._share = max(1, self._all // workers)
        self._connection = connection
        self._lock = threading.Lock()
        self._running = 0
        self._met_at = 0.0
        self._threads = self._wanted = self._all
        self._is_changing = False

    @contextmanager
    def used(self) -> Iterator[None]:
        """While a question is worked on."""
        self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def _begin(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._running += 1
            if self._running > 1:
                self._met_at = now
            self._wanted = self._share if now - self._met_at < _ALONE_SECONDS else self._all
            if self._wanted == self._threads or self._is_changing:
                return
            self._is_changing = True
        # A thread that is to go ends what it has in hand first, which of a large question may be
        # all of it; nobody but this thread waits for that.
        threading.Thread(target=self._change, name="threads", daemon=True).start()

    def _change(self) -> None:
        while True:
            # What was asked for while a change was under way is done by the same thread after it.
            with self._lock:
                wanted = self._wanted
                if wanted == self._threads:
                    self._is_changing = False
                    return
            try:
                with closing(self._connection.cursor()) as cursor:
                    cursor.execute(f"set threads = {wanted}")
                self._threads = wanted
            except duckdb.Error as error:
                # The file may have been let go meanwhile.
                _log.info("number of threads not changed", reason=type(error).__name__)
                with self._lock:
                    self._is_changing = False
                return
