"""Requests as an archive holds them, a line each, taken apart into results.

A result is what a provider reports at a time: an entry of a list, or a whole body. Each becomes its
own outcome, so that one that is broken does not spoil the others. What a result means is its
provider's module's affair.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from orchestration.loading.records import streams
from orchestration.webhooks.providers import PROVIDERS
from orchestration.webhooks.reading import Reading, RefusedError, Request, document, moment

_PARTITION = re.compile(r"(account|channel|dt|date|hr|hour)=(.+)")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_HOUR = re.compile(r"\d{1,2}")
_LEVELS = 64
# What a module that reads a payload of a shape that nobody thought of may trip over.
_TRIPS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class StrayFileError(Exception):
    """A file whose folder does not say what it holds; the message is the reason, in words."""


@dataclass(frozen=True)
class Source:
    """What the path of a file says of the requests in it.

    lacks: why it does not say when they were received, in words.
    """

    provider: ModuleType
    account_key: str
    channel_code: str | None
    received_at: str | None
    lacks: str


@dataclass(slots=True)
class Outcome:
    """What becomes of one result: it is read, or refused for a reason.

    kept: of a read result its own JSON, of a refused one a line that holds it alone.
    """

    received_at: str | None
    kept: str
    reading: Reading | None = None
    reason: str | None = None


@lru_cache(maxsize=4096)
def source_of(path: str) -> Source:
    """What a path below the landing zone says: webhooks/<provider>/account=<key>/**.

    channel=<code> says of which channel reports are that do not say so themselves; dt=<day> and
    hr=<hour> (UTC), when a request was received that does not say so. Raises StrayFileError.
    """
    _, provider, *folders = [*path.split("/")[:-1], ""]
    if provider not in PROVIDERS:
        raise StrayFileError(
            f"lies in webhooks/{provider}, and the providers that are read are "
            f"{', '.join(PROVIDERS)}: put it into the folder of one of them"
        )
    said: dict[str, str] = {}
    for folder in folders:
        found = _PARTITION.fullmatch(folder)
        if found is None or (found.group(1) == "account" and "account" in said):
            continue  # what lies below an account's folder is that account's
        try:
            said[found.group(1)] = unquote(found.group(2), errors="strict")
        except UnicodeDecodeError:  # spelled with question marks two accounts would be one
            raise StrayFileError(
                f"lies in a folder {found.group(1)}=... whose percent signs spell no UTF-8"
            ) from None
    if "account" not in said:
        raise StrayFileError(
            f"lies in no folder account=<account_key>: put it into webhooks/{provider}/account=..."
        )
    channel = said.get("channel")
    if channel is not None and channel not in _channel_codes():
        raise StrayFileError(
            "lies in a folder channel=... that names no channel code, as channel=VIBER"
        )
    return Source(PROVIDERS[provider], said["account"], channel, *_folder_time(said))


def _channel_codes() -> tuple[str, ...]:
    return next(f.codes for f in streams()["messages"].fields if f.name == "channel_code")


def _folder_time(said: Mapping[str, str]) -> tuple[str | None, str]:
    """(when the requests of a folder were received, what is missing where it does not say so)."""
    day, hour = said.get("dt") or said.get("date"), said.get("hr") or said.get("hour") or "0"
    if day is None:
        return None, "its file is in no folder dt=YYYY-MM-DD"
    if not _HOUR.fullmatch(hour) or int(hour) > 23:
        return None, "the folder of its hour is none from hr=00 to hr=23"
    try:
        if _DAY.fullmatch(day):
            return moment(f"{day}T{int(hour):02}:00:00Z", "the folder's day"), ""
    except RefusedError:
        pass
    return None, "the folder of its day is no dt=YYYY-MM-DD of the calendar"


def outcomes(line: str, source: Source) -> Iterator[Outcome]:
    """What becomes of each result of one request. Never raises, whatever the line holds."""
    received_at = None
    try:
        received_at, body = _request(line, source)
        results = _results(body, source.provider.RESULTS)
    except RefusedError as refusal:
        yield Outcome(received_at, line, reason=str(refusal))
        return
    request = Request(source.account_key, received_at, source.channel_code)
    for result in results:
        told = _without_nulls(result) if "null" in line else result
        reading, reason = _read(source.provider, told, request)
        if reading is not None:
            yield Outcome(received_at, _spelled(result, line), reading)
        elif len(results) == 1:
            yield Outcome(received_at, line, reason=reason)
        else:
            alone = {"received_at": received_at, "body": [result]}
            yield Outcome(received_at, _spelled(alone, line), reason=reason)
    if not results:
        yield Outcome(received_at, _spelled(body, line), Reading("empty request"))


def _spelled(value: Any, line: str) -> str:
    """JSON; of what is nested deeper than can be written, which is less than can be read, the line
    that holds it."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return line


def _request(line: str, source: Source) -> tuple[str, Any]:
    """(when it was received, what was posted)."""
    request = document(line)
    if isinstance(request, dict) and "body" in request and not _is_bare(request):
        received_at = moment(request.get("received_at"), "received_at") or source.received_at
        body = request["body"]
    else:
        received_at, body = source.received_at, request
    if received_at is None:
        raise RefusedError(f"it has no received_at, and {source.lacks}")
    if isinstance(body, str):
        body = _posted(body)
    if not isinstance(body, dict | list):
        raise RefusedError("its body is no object and no list")
    return received_at, body


def _is_bare(request: dict[str, Any]) -> bool:
    """Whether an object with a member `body` is itself what was posted."""
    is_alone = len(request) == 1
    return not (is_alone or "received_at" in request or isinstance(request["body"], dict | list))


def _posted(body: str) -> Any:
    """A body that was kept as text: JSON, or a form post as it was encoded."""
    start = body.lstrip()[:1]
    if start in ("{", "["):
        return document(body)
    if start == "<":
        raise RefusedError("its body is XML: have JSON sent")
    fields = dict(parse_qsl(body, keep_blank_values=True)) if "=" in body else {}
    if not fields:
        raise RefusedError("its body is neither JSON nor a form post")
    return fields


def _results(body: Any, listed: str | None) -> list[Any]:
    """The results of a body, or of each body of a list."""
    results: list[Any] = []
    for one in body if isinstance(body, list) else [body]:
        inner = one.get(listed) if listed and isinstance(one, dict) else None
        if isinstance(inner, list):
            results += inner
        else:
            results.append(one)
    return results


def _without_nulls(value: Any, levels: int = _LEVELS) -> Any:
    """The same without members that are null, or objects of such members alone: as the columns and
    nested columns of a Parquet file are that a result lacks. Below that many levels as it is."""
    if not levels:
        return value
    if isinstance(value, list):
        return [_without_nulls(one, levels - 1) for one in value]
    if not isinstance(value, dict):
        return value
    told = ((name, one, _without_nulls(one, levels - 1)) for name, one in value.items())
    return {
        name: left for name, one, left in told if left is not None and (left != {} or one == {})
    }


def _read(provider: ModuleType, result: Any, request: Request) -> tuple[Reading | None, str | None]:
    if not isinstance(result, dict):
        return None, "it is no object"
    try:
        return provider.read(result, request), None
    except RefusedError as refusal:
        return None, str(refusal)
    except _TRIPS:
        return None, "it has a shape that no rule understands"
