"""How far a pass has come, told to whoever listens in this process.

The command line listens; a run that Dagster started itself has no listener, and its own log. Only
the telling lives here, not what is shown.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, int, int], None]
_listeners: list[Listener] = []
_remark_listeners: list[Callable[[str], None]] = []


def tell(stage: str, done: int, total: int) -> None:
    """`done` of `total` steps of this stage are over; the unit is the stage's own."""
    for listener in _listeners:
        listener(stage, done, total)


def remark(sentence: str) -> None:
    """A sentence that the operator should read, though nothing failed."""
    for listener in _remark_listeners:
        listener(sentence)


@contextmanager
def listening(listener: Listener, remarks: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, `listener` hears of every step and `remarks` of every remark."""
    _listeners.append(listener)
    _remark_listeners.append(remarks)
    try:
        yield
    finally:
        _listeners.remove(listener)
        _remark_listeners.remove(remarks)
