"""Reads query strings: texts into values, with everything that is wrong collected.

What the parameters of a route are and what they mean together is said beside the route. Nothing
here raises on any input; violations are gathered so that all can be told at once.
"""

import re
from collections.abc import Collection
from datetime import datetime
from urllib.parse import parse_qsl

from endpoint.errors import Violation, violation
from endpoint.timestamps import read_timestamp

_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


class QueryString:
    """The parameters of one request, and the violations found in them so far.

    Construction tells unknown, repeated and empty parameters; the readers below tell values that
    cannot be. A reader gives None for a parameter that is absent or was found wrong.
    """

    def __init__(self, raw: bytes, known: Collection[str]) -> None:
        self.violations: list[Violation] = []
        self._texts: dict[str, str] = {}
        given: dict[str, list[str]] = {}
        for name, text in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
            given.setdefault(name, []).append(text)
        for name, texts in given.items():
            if name not in known:
                self.refuse(name, "unknown parameter")
            elif len(texts) > 1:
                self.refuse(name, "given more than once")
            elif not texts[0]:
                self.refuse(name, "empty")
            else:
                self._texts[name] = texts[0]
        self._given = given

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def refuse(self, name: str, problem: str) -> None:
        """Note that something is wrong with a parameter."""
        self.violations.append(violation(name, problem))

    def text(self, name: str) -> str | None:
        return self._texts.get(name)

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        """One of the allowed words, in exactly that spelling."""
        text = self._texts.get(name)
        if text is None or text in allowed:
            return text
        self.refuse(name, "must be " + " or ".join(allowed))
        return None

    def whole_number(self, name: str, lowest: int, highest: int) -> int | None:
        """A number in plain digits within bounds, both included."""
        text = self._texts.get(name)
        if text is None:
            return None
        if _WHOLE_NUMBER.fullmatch(text) and lowest <= int(text) <= highest:
            return int(text)
        self.refuse(name, f"must be a whole number from {lowest} to {highest}")
        return None

    def moment(self, name: str) -> datetime | None:
        """A timestamp with an offset, in UTC, to the microsecond."""
        text = self._texts.get(name)
        if text is None:
            return None
        moment = read_timestamp(text)
        if moment is None:
            self.refuse(
                name,
                "must be an ISO 8601 timestamp with an offset, such as 2026-05-05T00:00:00Z "
                "(write the + of an offset as %2B)",
            )
        return moment
