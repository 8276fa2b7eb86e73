"""How long a question may be worked on: DuckDB is interrupted where it takes longer.

When a process ends, all its questions are. What an interrupted question is answered with is said
in errors.py, and who is given how long where the limit is set.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

_LOOK_SECONDS = 0.2


class TookTooLongError(Exception):
    """A question was interrupted because its time was over."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The question took longer than {seconds:g} seconds: "
            "ask for fewer dimensions, a shorter period or fewer values in the filters."
        )


class ServiceStopsError(Exception):
    """A question was interrupted, or not begun, because the service is being stopped."""


class _Statement:
    """What runs on a connection, and until when it may (time.monotonic)."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seconds: float) -> None:
        self.connection = connection
        self.deadline = time.monotonic() + seconds


class TimeLimits:
    """Knows what runs, and interrupts it; safe from several threads at once."""

    def __init__(self, seconds: float) -> None:
        """seconds: what a question is given unless it is said otherwise."""
        self.seconds = seconds
        self._lock = threading.Lock()
        self._running: set[_Statement] = set()
        self._stopping = False
        self._over = threading.Event()

    def watch(self) -> None:
        """Start to look at what runs, in the background, until `close`."""
        threading.Thread(target=self._look, name="time-limits", daemon=True).start()

    def close(self) -> None:
        """Look no longer than until what runs has ended."""
        self._over.set()

    def stop(self) -> None:
        """Interrupt whatever runs, and let nothing more begin."""
        with self._lock:
            self._stopping = True
        self._interrupt_overdue()

    @contextmanager
    def limited(
        self, connection: duckdb.DuckDBPyConnection, seconds: float | None = None
    ) -> Iterator[None]:
        """What is asked of the connection meanwhile is interrupted after so many seconds.

        Raises TookTooLongError then, and ServiceStopsError where the service is being stopped.
        """
        given = self.seconds if seconds is None else seconds
        statement = _Statement(connection, given)
        with self._lock:
            if self._stopping:
                raise ServiceStopsError
            self._running.add(statement)
        try:
            yield
        except duckdb.InterruptException:
            raise (ServiceStopsError if self._stopping else TookTooLongError(given)) from None
        finally:
            # Under the lock, so that nobody interrupts what is asked of the connection next.
            with self._lock:
                self._running.discard(statement)

    def _look(self) -> None:
        # What was about to ask when the service stopped begins after it, and has to be interrupted.
        while not self._over.wait(_LOOK_SECONDS) or self._running:
            self._interrupt_overdue()
            if self._over.is_set():
                time.sleep(_LOOK_SECONDS)

    def _interrupt_overdue(self) -> None:
        with self._lock:
            now = time.monotonic()
            for statement in self._running:
                # Again and again: between two statements there is nothing to be interrupted.
                if self._stopping or statement.deadline < now:
                    statement.connection.interrupt()
