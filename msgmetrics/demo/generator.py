"""The loop over the slices of the period: what arrives when, what comes twice, which file it is in.

Home of `generate` and of the layout of the landing zone. What is in the records is made elsewhere
(see the package's docstring).
"""

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from msgmetrics.demo import defects
from msgmetrics.demo.columns import Columns, concat, size, take
from msgmetrics.demo.funnel import make_events
from msgmetrics.demo.records import RecordWriter, compress, parquet, suffix_family
from msgmetrics.demo.traffic import corrections, make_messages
from msgmetrics.demo.volume import DAY, HOUR, SECOND, Slice, Volume, slices
from msgmetrics.demo.world import World, make_world

REPEATED_SHARE = 0.01
"""Records that arrive once more, in a later file."""

STAGING = ".demo"
"""The folder in the landing zone that is filled first; no stream has that name."""

_SUFFIXES = (
    "jsonl.gz", "parquet", "csv", "jsonl", "jsonl.gz", "parquet", "csv.gz", "jsonl.zst",
)  # fmt: skip
# Events begin half way: even a demo of a day has every ending.
_FIRST_SUFFIX = {"messages": 0, "events": 4}
_STREAMS = ("accounts", "messages", "events")


@dataclass(frozen=True)
class DemoSummary:
    """What a demo landing zone holds. Records are messages + corrections + events + accounts'
    versions + duplicates + broken records; the unreadable file repeats events that are there."""

    files: int  # the unreadable one too
    messages: int  # distinct, sound
    events: int  # distinct, sound
    accounts: int  # distinct, sound
    duplicates: int  # second arrivals of a message or an event
    corrections: int  # later versions of a message
    late_events: int  # in the file of a later day than they happened on
    broken_records: int
    unreadable_files: int
    bytes: int


def generate(
    landing: Path,
    *,
    messages: int,
    days: int,
    seed: int,
    end: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> DemoSummary:
    """Fill an empty landing zone with invented traffic of the `days` before `end`.

    The same arguments give the same bytes, whatever the clock says. Nothing is visible in the
    three streams before everything is written. `progress` is told the messages made so far and
    their number in all.

    Raises:
        ValueError: fewer than one message or day, or `end` without an offset from UTC.
        FileExistsError: a stream of the landing zone holds something already.
    """
    if messages < 1 or days < 1:
        raise ValueError("a demo has at least one message and one day")
    if end.tzinfo is None:
        raise ValueError("the end of a demo needs an offset from UTC")
    for stream in _STREAMS:
        if (landing / stream).is_dir() and any((landing / stream).iterdir()):
            raise FileExistsError(f"{landing / stream} is not empty")
    staging = landing / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        demo = _Demo(staging, messages, days, seed % 2**64, end)
        summary = demo.write(progress or (lambda done, total: None))
        for stream in _STREAMS:
            (staging / stream).rename(landing / stream)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return summary


class _Demo:
    """One run of the loop, with what is on its way between two slices."""

    def __init__(self, folder: Path, messages: int, days: int, seed: int, end: datetime) -> None:
        self._end_us = (end - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        start_us = self._end_us - days * DAY
        self._messages = messages
        self._world = make_world(messages, seed)
        self._volume = Volume(start_us, self._end_us, np.random.default_rng([seed, 9]))
        self._slices = slices(self._volume, start_us, self._end_us, messages)
        self._files = _Files(folder, self._world, self._slices)
        self._duplicates = 0

    def write(self, progress: Callable[[int, int], None]) -> DemoSummary:
        world, end_us = self._world, self._end_us
        waiting: dict[str, list[Columns]] = {"messages": [], "events": []}
        events = corrected = late = 0
        with self._files:
            accounts = self._files.write_accounts()
            for slice_ in self._slices:
                made = make_messages(world, self._volume, slice_, end_us)
                rng = np.random.default_rng([world.seed, 3, slice_.number])
                changed = corrections(made, rng, end_us)
                happened = make_events(world, made, slice_, end_us)
                corrected += size(changed)
                events += size(happened)
                days_of = (happened["arrives_us"] // DAY, happened["occurred_us"] // DAY)
                late += int((days_of[0] > days_of[1]).sum())
                for stream, tables in (("messages", [made, changed]), ("events", [happened])):
                    on_its_way = concat([*waiting[stream], *tables])
                    arrived = on_its_way["arrives_us"] < slice_.end_us
                    now = take(on_its_way, arrived)
                    again = self._repeats(now, slice_, rng)
                    waiting[stream] = [take(on_its_way, ~arrived), again]
                    self._files.write(stream, slice_, _in_order(now))
                progress(slice_.first_ordinal + slice_.messages, self._messages)
            # What would be repeated after the end comes in one more file, so that its share holds.
            for stream, left in waiting.items():
                self._files.write(stream, self._slices[-1], _in_order(concat(left)), resent=True)
        return DemoSummary(
            files=self._files.count,
            messages=self._messages,
            events=events,
            accounts=accounts,
            duplicates=self._duplicates,
            corrections=corrected,
            late_events=late,
            broken_records=self._files.broken_records,
            unreadable_files=self._files.unreadable,
            bytes=self._files.bytes,
        )

    def _repeats(self, arrived: Columns, slice_: Slice, rng: np.random.Generator) -> Columns:
        """A share of what arrived, to arrive once more in a later slice."""
        picked = (rng.random(size(arrived)) < REPEATED_SHARE) & ~arrived["repeat"]
        again = take(arrived, picked)
        count = size(again)
        self._duplicates += count
        delay = rng.exponential(3 * HOUR, count).astype(np.int64)
        return again | {
            "arrives_us": slice_.end_us + delay,
            "repeat": np.ones(count, bool),
        }


class _Files:
    """The files of the demo, written by a second thread: it compresses while the next are made."""

    def __init__(self, folder: Path, world: World, all_slices: list[Slice]) -> None:
        self._folder = folder
        self._world = world
        self._slices = all_slices
        self._writer = RecordWriter(world)
        self._thread = ThreadPoolExecutor(1)
        self._under_way: list[Future[int]] = []
        self._suffixes = {
            stream: [_suffix(first, number) for number in range(len(all_slices))]
            for stream, first in _FIRST_SUFFIX.items()
        }
        self._defects = {
            stream: defects.place_defects(stream, suffixes)
            for stream, suffixes in self._suffixes.items()
        }
        zipped = [n for n, suffix in enumerate(self._suffixes["events"]) if suffix == "jsonl.gz"]
        self._cut_off = zipped[len(zipped) // 2]
        self.count = self.bytes = self.broken_records = self.unreadable = 0

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._wait(0)
        self._writer.close()

    def write(self, stream: str, slice_: Slice, rows: Columns, *, resent: bool = False) -> None:
        """The file of what arrived during a slice, if anything did."""
        number = slice_.number
        suffix = "jsonl" if resent else self._suffixes[stream][number]
        broken = [] if resent else self._defects[stream].get(number, [])
        cut_off = stream == "events" and number == self._cut_off and not resent
        if not (size(rows) or broken or cut_off):
            return
        table = self._writer.messages(rows) if stream == "messages" else self._writer.events(rows)
        name = f"part-{slice_.part:04d}{'-resent' if resent else ''}.{suffix}"
        self._put(stream, slice_, name, table, broken, cut_off=cut_off)

    def write_accounts(self) -> int:
        """The accounts in two files at the start, some changes half way; how many there are."""
        world = self._world
        first, middle = self._slices[0], self._slices[len(self._slices) // 2]
        count = len(world.account_keys)
        listed = np.flatnonzero(np.arange(count) != world.unlisted)
        known_us = first.start_us // SECOND * SECOND - (1 + listed % 400) * DAY
        # Some systems leave out what has a default.
        updated = pa.array(known_us.astype("datetime64[us]"), mask=listed % 7 == 3)
        parents = world.parents[listed]
        plans = world.plans.take(pa.array(listed))
        table = pa.table(
            {
                "account_key": world.account_keys.take(pa.array(listed)),
                "parent_account_key": world.account_keys.take(pa.array(parents, mask=parents < 0)),
                "name": world.account_names.take(pa.array(listed, mask=listed % 23 == 5)),
                "plan": pa.array(plans.to_pylist(), mask=np.array(listed % 11 == 4)),
                "updated_at": updated,
                "spelling": pa.array(listed % 16),
            }
        )
        half = len(table) * 3 // 5
        self._put("accounts", first, "part-0000.csv", table.slice(0, half), [])
        self._put("accounts", first, "part-0001.parquet", table.slice(half), [])
        changed = table.take(pa.array(np.arange(0, len(table), 9)))
        upgrade = {"free": "growth", "growth": "scale", "scale": "scale", None: "growth"}
        plans = pa.array([upgrade[plan] for plan in changed["plan"].to_pylist()])
        when = np.full(len(changed), middle.start_us // SECOND * SECOND).astype("datetime64[us]")
        changed = changed.set_column(3, "plan", plans).set_column(4, "updated_at", pa.array(when))
        broken = [defect for defect in defects.DEFECTS if defect.stream == "accounts"]
        self._put("accounts", middle, "part-0000-changes.jsonl", changed, broken)
        return len(listed)

    def _put(
        self,
        stream: str,
        slice_: Slice,
        name: str,
        table: pa.Table,
        broken: list[defects.Defect],
        *,
        cut_off: bool = False,
    ) -> None:
        suffix = name.partition(".")[2]
        path = self._folder / stream / slice_.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.broken_records += len(broken)
        match suffix_family(suffix):
            case "parquet":
                whole = defects.add_rows(table, broken, slice_) if broken else table
                self._start(path, lambda: parquet(stream, whole))
                return
            case "csv":
                content = self._writer.csv(stream, table)
                if slice_.number % 3 == 2:
                    content = b"\xef\xbb\xbf" + content
            case _:
                content = self._writer.json_lines(stream, table, nulls=slice_.number % 3 == 0)
                if slice_.number % 5 == 3:
                    content += b"\n"
        if broken:
            content = defects.add_lines(content, broken, slice_)
        self._start(path, lambda: compress(content, suffix))
        if cut_off:
            # An upload that broke off; the sender tried again, so nothing is missing.
            attempt = path.with_name(path.name.replace(".", "-attempt.", 1))
            self.unreadable += 1
            self._start(attempt, lambda: _broken_off(compress(content, suffix)))

    def _start(self, path: Path, make: Callable[[], bytes]) -> None:
        self.count += 1
        self._wait(2)
        self._under_way.append(self._thread.submit(lambda: path.write_bytes(make())))

    def _wait(self, at_most: int) -> None:
        """Until so many files are under way: what is made must not run ahead of the disk."""
        while len(self._under_way) > at_most:
            self.bytes += self._under_way.pop(0).result()


def _in_order(rows: Columns) -> Columns:
    return take(rows, np.argsort(rows["arrives_us"], kind="stable"))


def _suffix(first: int, number: int) -> str:
    # One step more every four files: else each hour of the day would keep its format.
    return _SUFFIXES[(first + number + number // 4) % len(_SUFFIXES)]


def _broken_off(content: bytes) -> bytes:
    return content[: len(content) * 3 // 5]
