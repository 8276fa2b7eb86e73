"""The demo's landing files: the same for the same arguments, and as messy as promised.

The files are read here with the plainest readers there are, not with those of the pipeline.
"""

import csv
import gzip
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from msgmetrics.demo import DemoSummary, channels, funnel, generate
from msgmetrics.demo.records import FIELDS, Kind
from msgmetrics.demo.volume import DAY, Volume, slices
from msgmetrics.demo.world import COUNTRIES

END = datetime(2026, 5, 6, 7, 20, 30, tzinfo=UTC)
MESSAGES, DAYS = 20_000, 8
SEEDS = Path(__file__).parent.parent / "seeds"

Record = dict[str, Any]


@dataclass
class Landed:
    """What the files of a landing zone say."""

    summary: DemoSummary
    suffixes: Counter[str] = field(default_factory=Counter)
    unreadable: list[Path] = field(default_factory=list)
    broken: list[Any] = field(default_factory=list)
    sound: dict[str, list[tuple[date, Record]]] = field(
        default_factory=lambda: {"messages": [], "events": [], "accounts": []}
    )

    def records(self, stream: str) -> list[Record]:
        return [record for _, record in self.sound[stream]]


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "landing"


@pytest.fixture(scope="module")
def landed(landing: Path) -> Landed:
    summary = generate(landing, messages=MESSAGES, days=DAYS, seed=1, end=END)
    result = Landed(summary)
    for path in _files(landing):
        stream, day = path.relative_to(landing).parts[:2]
        result.suffixes[path.name.partition(".")[2]] += 1
        try:
            rows = _rows(path)
        except EOFError:
            result.unreadable.append(path)
            continue
        for row in rows:
            if record := _sound(stream, row):
                result.sound[stream].append((date.fromisoformat(day[3:]), record))
            else:
                result.broken.append(row)
    return result


def _files(landing: Path) -> list[Path]:
    return sorted(path for path in landing.rglob("*") if path.is_file())


def _contents(landing: Path) -> dict[str, bytes]:
    return {str(path.relative_to(landing)): path.read_bytes() for path in _files(landing)}


def _rows(path: Path) -> list[Any]:
    """The rows of a file as dicts; what is not even that as it came."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        return pq.read_table(io.BytesIO(content)).to_pylist()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if path.suffix == ".zst":
        content = pa.CompressedInputStream(io.BytesIO(content), "zstd").read()
    text = content.decode("utf-8-sig")
    if ".csv" in path.suffixes:
        header, *rows = csv.reader(io.StringIO(text))
        return [dict(zip(header, row, strict=True)) if len(row) == len(header) else row
                for row in rows]  # fmt: skip
    return [_parsed(line) for line in text.splitlines() if line]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line, parse_float=Decimal)
    except ValueError:
        return line


def _sound(stream: str, row: Any) -> Record | None:
    """The typed record, or nothing if the row breaks a rule that the demo's defects break."""
    if not isinstance(row, dict):
        return None
    record = {}
    try:
        for name, (kind, _) in FIELDS[stream].items():
            value = row.get(name)
            record[name] = None if value in (None, "") else _typed(kind, value)
    except (ValueError, InvalidOperation):
        return None
    required = {
        "messages": ("message_id", "account_key", "sent_at", "sender", "recipient"),
        "events": ("event_id", "message_id", "event_type", "occurred_at"),
        "accounts": ("account_key",),
    }[stream]
    if any(record[name] is None for name in required) or not _codes_known(stream, record):
        return None
    return record


def _typed(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.TIME:
            time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            if time.tzinfo is None:
                raise ValueError("no offset")
            return time.astimezone(UTC)
        case Kind.NUMBER:
            number = Decimal(value)
            if number < 0:
                raise ValueError("negative")
            return number
        case Kind.FLAG:
            return {"true": True, "false": False}[str(value).lower()]
        case _:
            return value


def _codes_known(stream: str, record: Record) -> bool:
    if stream == "messages":
        return record["channel_code"] in channels.CODES
    if stream == "accounts":
        return record["plan"] in (None, "free", "growth", "scale")
    needed = {"BOUNCED": "bounce_type", "CLICKED": "url"}.get(record["event_type"])
    return record["event_type"] in funnel.EVENT_TYPES and (not needed or bool(record[needed]))


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        generate(tmp_path / name, messages=3000, days=2, seed=5, end=END)
    assert _contents(tmp_path / "one") == _contents(tmp_path / "two")


def test_another_seed_gives_other_messages(tmp_path: Path) -> None:
    for seed in (5, 6):
        generate(tmp_path / str(seed), messages=500, days=2, seed=seed, end=END)
    one, two = _contents(tmp_path / "5"), _contents(tmp_path / "6")
    assert not set(one.values()) & set(two.values())


def test_messages_are_as_many_as_asked_for(landed: Landed) -> None:
    assert len({record["message_id"] for record in landed.records("messages")}) == MESSAGES
    assert landed.summary.messages == MESSAGES


def test_events_are_about_two_a_message(landed: Landed) -> None:
    assert len({record["event_id"] for record in landed.records("events")}) == landed.summary.events
    assert 1.8 < landed.summary.events / MESSAGES < 2.2


def test_every_channel_and_event_type_appears(landed: Landed) -> None:
    seen = Counter(record["channel_code"] for record in landed.records("messages"))
    assert set(seen) == set(channels.CODES)
    assert [code for code, _ in seen.most_common(3)] == ["SMS", "EMAIL", "WHATSAPP"]
    types = {record["event_type"] for record in landed.records("events")}
    assert types == set(funnel.EVENT_TYPES)


def test_every_format_appears(landed: Landed) -> None:
    expected = {"jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "parquet"}
    assert set(landed.suffixes) == expected
    assert sum(landed.suffixes.values()) == landed.summary.files


def test_one_in_a_hundred_records_comes_twice(landed: Landed) -> None:
    copies = 0
    for stream in ("messages", "events"):
        counts = Counter(tuple(record.values()) for record in landed.records(stream))
        copies += sum(counts.values()) - len(counts)
    assert copies == landed.summary.duplicates
    assert copies / (MESSAGES + landed.summary.events) == pytest.approx(0.01, rel=0.15)


def test_a_few_messages_are_corrected(landed: Landed) -> None:
    versions = {tuple(record.values()) for record in landed.records("messages")}
    assert len(versions) - MESSAGES == landed.summary.corrections > 0


def test_three_in_a_hundred_events_land_on_a_later_day(landed: Landed) -> None:
    late = {
        record["event_id"]
        for day, record in landed.sound["events"]
        if day > record["occurred_at"].date()
    }
    assert 0.02 < len(late) / landed.summary.events < 0.045
    assert landed.summary.late_events / landed.summary.events == pytest.approx(0.03, rel=0.3)


def test_some_events_land_before_their_message(landed: Landed) -> None:
    first_day: dict[str, date] = {}
    for day, record in landed.sound["messages"]:
        first_day.setdefault(record["message_id"], day)
    early = [
        record
        for day, record in landed.sound["events"]
        if day < first_day.get(record["message_id"], day)
    ]
    assert early


def test_a_few_events_wait_for_a_message_that_never_comes(landed: Landed) -> None:
    known = {record["message_id"] for record in landed.records("messages")}
    unknown = [r for r in landed.records("events") if r["message_id"] not in known]
    assert 0 < len(unknown) < landed.summary.events / 500


def test_nothing_happens_outside_the_period(landed: Landed) -> None:
    sent = [record["sent_at"] for record in landed.records("messages")]
    assert END - timedelta(days=DAYS) <= min(sent) and max(sent) < END
    assert max(record["occurred_at"] for record in landed.records("events")) < END
    updated = [record["updated_at"] for record in landed.records("messages")]
    assert max(time for time in updated if time) < END


def test_exactly_one_file_cannot_be_read(landed: Landed) -> None:
    assert len(landed.unreadable) == landed.summary.unreadable_files == 1


def test_broken_records_are_counted(landed: Landed) -> None:
    assert len(landed.broken) == landed.summary.broken_records == 14


def test_accounts_form_a_tree_of_three_levels(landed: Landed) -> None:
    parents = {r["account_key"]: r["parent_account_key"] for r in landed.records("accounts")}

    def level(key: str | None) -> int:
        return 1 + level(parents.get(key)) if key else 0

    assert max(level(key) for key in parents) == 3
    used = {record["account_key"] for record in landed.records("messages")}
    assert len(parents) == landed.summary.accounts
    assert len(used - set(parents)) == 1, "one account is known from its messages alone"


def test_interactions_hold_messages_of_both_directions(landed: Landed) -> None:
    directions: dict[tuple[str, str], set[str]] = {}
    for record in landed.records("messages"):
        if record["interaction_id"]:
            key = record["account_key"], record["interaction_id"]
            directions.setdefault(key, set()).add(record["direction"])
    assert any(len(both) == 2 for both in directions.values())
    inbound = [r for r in landed.records("messages") if r["direction"] == "INBOUND"]
    assert 0.08 < len(inbound) / MESSAGES < 0.15


def test_costs_are_exact_decimals(landed: Landed) -> None:
    costs = [record["cost_cents"] for record in landed.records("messages")]
    places = Counter(-cost.normalize().as_tuple().exponent for cost in costs if cost)
    assert max(places) == 6


def test_end_users_have_reserved_addresses_only(landed: Landed) -> None:
    for record in landed.records("messages"):
        inbound = record["direction"] == "INBOUND"
        address = record["sender"] if inbound else record["recipient"]
        if record["channel_code"] in ("EMAIL", "EMAILVALID"):
            domain = address.rpartition("@")[2].rstrip(">").lower()
            assert "@" not in address or domain.endswith(
                ("example.com", "example.net", "example.org")
            )
        else:
            assert address.startswith(("999", "u"))


def test_codes_are_those_of_the_reference_data(landed: Landed) -> None:
    def column(name: str) -> set[str]:
        with (SEEDS / f"{name}.csv").open(encoding="utf-8") as file:
            return {row[0] for row in csv.reader(file)}

    networks = {str(network) for country in COUNTRIES for network in country.networks}
    assert networks <= column("networks")
    assert {str(country.country_id) for country in COUNTRIES} <= column("countries")
    assert set(funnel.ERRORS) - column("error_codes") == {"EC_VENDOR_SPECIFIC_4711"}
    assert set(funnel.STATUSES) - column("statuses") == {"DELIVERED_TO_GATEWAY"}
    assert set(channels.CODES) <= column("channels")
    assert set(channels.TRAFFIC_TYPES) <= column("traffic_types")


def test_sizes_in_the_summary_are_those_on_disk(landing: Path, landed: Landed) -> None:
    assert sum(path.stat().st_size for path in _files(landing)) == landed.summary.bytes


def test_a_demo_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def give_up(done: int, total: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        generate(tmp_path, messages=100, days=1, seed=1, end=END, progress=give_up)
    assert list(tmp_path.iterdir()) == []


def test_a_landing_zone_with_files_is_refused(tmp_path: Path) -> None:
    generate(tmp_path, messages=10, days=1, seed=1, end=END)
    before = _contents(tmp_path)
    with pytest.raises(FileExistsError):
        generate(tmp_path, messages=10, days=1, seed=2, end=END)
    assert _contents(tmp_path) == before


def test_slices_cover_the_period_and_stay_small() -> None:
    start, end, messages = 20_000 * DAY + 5, 20_003 * DAY + 7_000_000, 1_234_567
    volume = Volume(start, end, np.random.default_rng(1))
    cut = slices(volume, start, end, messages, per_slice=10_000)
    assert [s.end_us for s in cut[:-1]] == [s.start_us for s in cut[1:]]
    assert (cut[0].start_us, cut[-1].end_us) == (start, end)
    assert sum(s.messages for s in cut) == messages
    assert max(s.messages for s in cut) <= 10_001
    assert all(s.start_us // DAY == (s.end_us - 1) // DAY for s in cut)
    assert len({(s.folder, s.part) for s in cut}) == len(cut)


def test_progress_counts_up_to_all_messages(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    generate(
        tmp_path, messages=200, days=3, seed=1, end=END,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert calls == sorted(calls)
    assert calls[-1] == (200, 200)


@pytest.mark.parametrize(
    ("messages", "days", "end"), [(0, 1, END), (1, 0, END), (1, 1, END.replace(tzinfo=None))]
)
def test_senseless_arguments_are_refused(
    tmp_path: Path, messages: int, days: int, end: datetime
) -> None:
    with pytest.raises(ValueError, match="demo"):
        generate(tmp_path, messages=messages, days=days, seed=1, end=end)
