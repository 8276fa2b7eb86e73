"""Which quarantine entries are open after any deliveries, by a model in plain Python."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_records import ACCOUNT, EVENT, MESSAGE, file_of
from releases import release_that_refuses
from zone import NOW, Zone

HOUR = timedelta(hours=1)
# Only today's release takes these for good.
NEW = '"new"'
REFUSES_NEW = "campaign_reference_id = 'new'"


@dataclass(frozen=True)
class Line:
    """A record of a message. kind: good, bad, new (see REFUSES_NEW), ahead (of the clock by 24
    hours and `version`); an id of None, and a version of None where it is bad, cannot be read."""

    kind: str
    id: str | None
    version: int | None
    note: str

    def spelled(self) -> dict[str, str]:
        record = {**MESSAGE, "entity_id": json.dumps(self.note)}
        record["message_id"] = "null" if self.id is None else json.dumps(self.id)
        if self.kind == "ahead":
            record["sent_at"] = json.dumps(self.sent_at.isoformat())
            record["updated_at"] = "null"
        elif self.version is None:
            record["updated_at"] = '"yesterday"'
            if self.note == "x":
                record["sent_at"] = '"yesterday"'
        else:
            record["updated_at"] = json.dumps(self.sent_at.isoformat())
        if self.kind == "bad":
            record["direction"] = '"SIDEWAYS"'
        if self.kind == "new":
            record["campaign_reference_id"] = NEW
        return record

    @property
    def sent_at(self) -> datetime:
        if self.kind == "ahead":
            return NOW + 24 * HOUR + (self.version or 0) * HOUR
        return NOW - 24 * HOUR + (self.version or 0) * HOUR

    def is_good(self, now: datetime, *, old: bool) -> bool:
        if self.id is None or self.version is None or self.kind == "bad":
            return False
        if self.kind == "ahead":
            return self.sent_at <= now + 24 * HOUR
        return not (old and self.kind == "new")

    @property
    def known_version(self) -> datetime | None:
        """What a refusal can know: a moment ahead may be a slip."""
        return None if self.kind == "ahead" or self.version is None else self.sent_at


Content = tuple[Line, ...] | None  # None: unreadable
NAMES = ("messages/a.jsonl", "messages/b.jsonl.gz", "messages/c.csv", "messages/d.csv.gz")


def bytes_of(name: str, content: Content) -> bytes:
    if content is None:
        return b"\xff\xff"
    records = [line.spelled() for line in content]
    if ".csv" in name:
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(MESSAGE)
        for record in records:
            rows.writerow([json.loads(record[name]) for name in MESSAGE])
        plain = text.getvalue().encode()
    else:
        plain = "".join(
            "{" + ",".join(f'"{k}": {v}' for k, v in record.items()) + "}\n" for record in records
        ).encode()
    return gzip.compress(plain, mtime=0) if name.endswith(".gz") else plain


@dataclass
class File:
    number: int
    name: str
    content: Content
    refused: int = 0

    @property
    def kind(self) -> str:
        return "csv" if ".csv" in self.name else "jsonl"


@dataclass
class Entry:
    file: File
    row: int | None
    line: Line | None
    held: tuple[Line, ...]  # the good records of earlier loads
    because: str | None = None

    def is_answered_by(self, file: File, good: Line) -> bool:
        if self.line is None or self.line.id != good.id or self.file is file:
            return False
        if self.line.known_version is not None:
            return self.line.known_version <= good.sent_at
        mended = self.file.name == file.name and self.file.number < file.number
        return mended or not any(
            held.id == good.id and (held.sent_at > good.sent_at or held == good)
            for held in self.held
        )


@dataclass
class Model:
    """Files in the order of their loads, the entries that they left and what is held."""

    files: list[File] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    held: tuple[Line, ...] = ()

    def load(self, landing: Mapping[str, Content], now: datetime, *, old: bool) -> None:
        self._requeue(now, old=old)
        new, held = [], self.held
        for name in sorted(landing, key=lambda name: (".jsonl" in name, name)):
            file = File(len(self.files) + 1, name, landing[name])
            if all((file.name, file.content) != (f.name, f.content) for f in self.files):
                self.files.append(file)
                new.append(file)
        goods = []
        for file in new:
            if file.content is None:
                self.entries.append(Entry(file, None, None, held))
            for row, line in enumerate(file.content or (), start=2 if file.kind == "csv" else 1):
                if line.is_good(now, old=old):
                    goods.append((file, line))
                else:
                    file.refused += 1
                    self.entries.append(Entry(file, row, line, held))
        self._close_by_records(goods)
        self._close_by_files(new)
        for entry in self._open():
            if any(self._is_younger_twin(entry, other) for other in self.entries):
                entry.because = "refused again"

    def _requeue(self, now: datetime, *, old: bool) -> None:
        taken = [e for e in self._open() if e.line and e.line.is_good(now, old=old)]
        for entry in taken:
            entry.because = "requeued"
            entry.file.refused -= 1
        self._close_by_records([(entry.file, entry.line) for entry in taken if entry.line])
        self._close_by_files([e.file for e in taken if e.file.refused == 0])

    def _open(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.because is None]

    def _close_by_records(self, goods: list[tuple[File, Line]]) -> None:
        self.held += tuple(good for _, good in goods)
        for entry in self._open():
            if any(entry.is_answered_by(file, good) for file, good in goods):
                entry.because = "arrived again"

    def _close_by_files(self, files: list[File]) -> None:
        for file in files:
            for entry in self._open():
                if (
                    file.content is not None
                    and file.name == entry.file.name
                    and file.number > entry.file.number
                    and (
                        entry.line is None
                        if entry.line is None
                        else (entry.line.id is None and file.refused == 0)
                    )
                ):
                    entry.because = "file replaced"

    def _is_younger_twin(self, entry: Entry, other: Entry) -> bool:
        if other.file.number <= entry.file.number:
            return False
        if entry.line is None or other.line is None:
            return entry.line is other.line and entry.file.name == other.file.name
        return (entry.line, entry.file.kind) == (other.line, other.file.kind)

    def told(self) -> Counter:
        return Counter((e.file.name, e.row, e.because) for e in self.entries)


lines = st.builds(
    Line,
    st.sampled_from(("good", "good", "bad", "bad", "new", "ahead")),
    st.sampled_from(("m1", "m2", "m3")),
    st.integers(1, 3),
    st.sampled_from(("x", "y")),
) | st.builds(
    Line,
    st.just("bad"),
    st.sampled_from((None, "m1", "m2")),
    st.sampled_from((None, 1)),
    st.sampled_from(("x", "y")),
)
contents = st.lists(lines, max_size=4).map(tuple) | st.none()
loads = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), contents, max_size=3),
    st.integers(0, 2),  # hours that have passed
    st.booleans(),  # by the old release
)


@given(st.lists(loads, min_size=2, max_size=6))
@settings(max_examples=30, deadline=None)
def test_open_entries_are_those_of_the_model(sequence):
    with tempfile.TemporaryDirectory() as folder, closing(Zone(Path(folder))) as zone:
        model, now = Model(), NOW
        landing: dict[str, Content] = {}
        zone.landing.mkdir(parents=True)
        for deliveries, hours, old in sequence:
            now += hours * HOUR
            for name, content in deliveries.items():
                zone.write(name, bytes_of(name, content))
            landing |= deliveries
            with release_that_refuses(REFUSES_NEW) if old else nullcontext():
                report = zone.load(now=now)
            before = sum(entry.because is not None for entry in model.entries)
            model.load(landing, now, old=old)
            told = Counter(
                (row["path"], row["row_number"], row["closed_because"]) for row in zone.quarantine()
            )
            assert told == model.told()
            after = sum(entry.because is not None for entry in model.entries)
            assert report.streams["messages"].closed == after - before
            refused = {file.number: file.refused for file in model.files if file.content}
            assert sum(refused.values()) == sum(int(str(f["quarantined"])) for f in zone.files())


def causes(zone: Zone) -> list[object]:
    rows = zone.query("select closed_because from raw.quarantine order by quarantine_id")
    return [row["closed_because"] for row in rows]


RECORDS = {"messages": MESSAGE, "events": EVENT, "accounts": ACCOUNT}
FAULT = {"messages": "direction", "events": "event_type", "accounts": "plan"}


@pytest.mark.parametrize("format_", ("jsonl", "csv", "parquet"))
@pytest.mark.parametrize("stream", RECORDS)
def test_a_good_version_of_a_record_closes_its_entry_in_every_stream(zone, stream, format_):
    good = RECORDS[stream]
    key = next(iter(good))
    bad, other = {**good, FAULT[stream]: '"no such"'}, {**good, key: '"another"'}
    zone.write(f"{stream}/bad.{format_}", file_of([bad, other], format_))
    zone.load()
    zone.write(f"{stream}/other.{format_}", file_of([other], format_))
    zone.load()
    assert causes(zone) == [None]
    zone.write(f"{stream}/good.{format_}", file_of([good], format_))
    assert zone.load().streams[stream].closed == 1
    assert causes(zone) == ["arrived again"]
    (entry,) = zone.quarantine()
    assert (entry["closed_by_batch"], entry["closed_at"]) == (3, NOW.replace(tzinfo=None))


def test_a_good_record_that_came_before_closes_nothing(zone: Zone):
    zone.write("messages/a.jsonl", file_of([MESSAGE], "jsonl"))
    zone.load()
    zone.write("messages/b.jsonl", file_of([{**MESSAGE, "direction": '"UP"'}], "jsonl"))
    zone.load()
    zone.load(rehash=True)
    assert causes(zone) == [None]


@pytest.mark.parametrize(
    "fault", ({"updated_at": '"noon"'}, {"updated_at": '"2027-01-01T00:00:00Z"'})
)
def test_a_repeat_of_what_was_held_does_not_close_a_refusal_without_a_version(zone: Zone, fault):
    zone.write("messages/a.jsonl", file_of([MESSAGE], "jsonl"))
    zone.load()
    zone.write("messages/b.jsonl", file_of([{**MESSAGE, **fault}], "jsonl"))
    zone.load()
    zone.write("messages/again.csv", file_of([MESSAGE], "csv"))
    zone.load()
    assert causes(zone) == [None]
    news = {**MESSAGE, "updated_at": '"2026-05-06T10:00:00Z"'}
    zone.write("messages/c.jsonl", file_of([news], "jsonl"))
    zone.load()
    assert causes(zone) == ["arrived again"]


def test_a_repeat_closes_a_refusal_when_it_comes_in_the_mended_file(zone: Zone):
    zone.write("events/a.jsonl", file_of([EVENT], "jsonl"))
    zone.load()
    zone.write("events/b.jsonl", file_of([{**EVENT, "event_type": '"no such"'}], "jsonl"))
    zone.load()
    zone.write("events/c.jsonl", file_of([EVENT], "jsonl"))
    zone.load()
    assert causes(zone) == [None]
    zone.write("events/b.jsonl", file_of([EVENT], "jsonl"))
    zone.load()
    assert causes(zone) == ["arrived again"]


def test_an_older_version_of_a_refused_correction_does_not_close_it(zone: Zone):
    correction = {**MESSAGE, "updated_at": '"2026-05-06T10:00:00Z"'}
    zone.write("messages/a.jsonl", file_of([{**correction, "direction": '"UP"'}], "jsonl"))
    zone.load()
    zone.write("messages/b.jsonl", file_of([MESSAGE], "jsonl"))
    zone.load()
    assert causes(zone) == [None]
    zone.write("messages/c.jsonl", file_of([correction], "jsonl"))
    zone.load()
    assert causes(zone) == ["arrived again"]


def test_an_unreadable_file_is_closed_when_its_content_comes_under_the_right_name(zone: Zone):
    content = file_of([ACCOUNT], "parquet")
    zone.write("accounts/a.csv.gz", content)
    zone.load()
    zone.write("events/a.parquet", content)
    zone.load()
    assert causes(zone)[0] is None
    zone.write("accounts/a.parquet", content)
    zone.load()
    assert causes(zone)[0] == "arrived again"


def test_a_refused_record_is_told_once_however_often_its_file_comes(zone: Zone):
    zone.write("accounts/a.jsonl", '{"account_key": ""}\n')
    for number in range(1, 4):
        zone.load()
        (entry,) = zone.open_entries()
        assert entry["file_id"] == number
        zone.write("accounts/a.jsonl", '{"account_key": ""}\n' + '{"account_key": "b"}\n' * number)
    assert causes(zone) == ["refused again", "refused again", None]


def test_the_same_row_under_another_header_is_another_record(zone: Zone):
    zone.write("accounts/a.csv", "account_key,name,plan\n,x,huge\n")
    zone.load()
    zone.write("accounts/b.csv", "name,account_key,plan\n,x,huge\n")
    zone.load()
    assert causes(zone) == [None, None]
    zone.write("accounts/c.csv", "account_key,name,plan\n,x,huge\n")
    zone.load()
    assert causes(zone) == ["refused again", None, None]
