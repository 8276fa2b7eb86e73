"""The load: every new file whole or not at all, exactly once, each of its records accounted for.

A transaction takes in a group of small files or one large one: its records, what it quarantined,
and the row in raw.files that says it is done. A process killed at any moment leaves either all of
that or nothing, and the next run goes on from raw.files.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

from msgmetrics.settings import Settings
from orchestration.batches import open_batch
from orchestration.loading import readers, webhooks
from orchestration.loading.arrived import insert_refused, insert_valid, rules
from orchestration.loading.closing import settle_files
from orchestration.loading.landing import (
    ENDINGS,
    ChangedWhileReadError,
    LandingFile,
    Listing,
    UnreadableFileError,
    content_hash,
    count_lines,
    list_landing,
    readable_copy,
    state_of,
)
from orchestration.loading.records import FUTURE, WEBHOOKS, Stream, folders, judged_sql, streams
from orchestration.loading.requeue import Requeue
from orchestration.loading.system import refusals_of_the_system, system_refuses
from orchestration.warehouse import create_raw_tables, transaction

_GROUP_FILES = 128
_GROUP_BYTES = 256 << 20
_TRIED_AGAIN = "it is tried again at the next run"


@dataclass
class StreamLoad:
    """What one load did to one stream; counts are of records unless they say files.

    Of webhooks the records are results. set_aside: those that are no message traffic; requeued:
    records that were taken out of quarantine before; closed: all entries of quarantine, records
    and files, that were closed, those among them.
    """

    files: int = 0
    unreadable_files: int = 0
    records: int = 0
    loaded: int = 0
    set_aside: int = 0
    quarantined: int = 0
    requeued: int = 0
    closed: int = 0


@dataclass
class LoadReport:
    """What one load did. Remarks are sentences for the operator.

    requeue_batch_id: the batch of the records that were taken out of quarantine, if any were.
    """

    batch_id: int
    streams: dict[str, StreamLoad]
    requeue_batch_id: int | None = None
    known_files: int = 0
    left_alone: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        return sum(load.files + load.unreadable_files for load in self.streams.values())


@dataclass(frozen=True)
class _Arrival:
    """A new file with its identity, ready to be read."""

    file_id: int
    file: LandingFile
    hash: str
    copy: Path


class Loader:
    """Loads what is new in the landing zone into the raw tables.

    `now` is the wall clock that the 24-hour rule looks at. The connection must be the only writer.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        settings: Settings,
        *,
        now: datetime,
        as_of: datetime,
        run_id: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._now = now
        self._latest = (now + FUTURE).replace(tzinfo=None)
        self._as_of = as_of
        self._run_id = run_id
        self._progress = progress or (lambda done, total: None)
        self._work = settings.work_dir

    def load(self, *, rehash: bool = False) -> LoadReport:
        """One pass over the landing zone. `rehash` hashes known files too, whatever their dates.

        Raises UserError where there is no landing zone.
        """
        with refusals_of_the_system(self._settings):
            return self._load(list_landing(self._settings.landing_path), rehash=rehash)

    def _load(self, listing: Listing, *, rehash: bool) -> LoadReport:
        create_raw_tables(self._connection)
        readers.prepare(self._connection)
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True)
        requeued = Requeue(
            self._connection, now=self._now, as_of=self._as_of, run_id=self._run_id
        ).due()
        report = LoadReport(
            self._begin_batch(),
            {name: StreamLoad(requeued=requeued.requeued[name]) for name in folders()},
            requeue_batch_id=requeued.batch_id,
            left_alone=listing.left_alone,
        )
        if not listing.files:
            report.remarks.append(
                f"The landing zone {self._settings.landing_path} holds no file to load; drop files "
                "into messages/, events/, accounts/ or webhooks/, or let `msgmetrics demo` write "
                "some."
            )
        report.remarks.extend(f"{reason}; {_TRIED_AGAIN}." for reason in listing.unlisted)
        report.remarks.extend(
            f"The landing zone has a folder {name}, from which nothing is read: if it is meant to "
            f"be {meant}, call it so."
            for name, meant in listing.misspelled.items()
        )
        if listing.unread:
            report.remarks.append(
                f"The landing zone has files that are not read ({len(listing.unread):,}, as "
                f"{listing.unread[0]}): read are names that end in {', '.join(ENDINGS)}, and of "
                f"them none of CSV in {WEBHOOKS}/."
            )
        if listing.beside:
            report.remarks.append(
                f"The landing zone has files beside its folders ({len(listing.beside):,}, as "
                f"{listing.beside[0]}), which are not read: move each into {', '.join(folders())}."
            )
        try:
            new = self._new_files(listing.files, report, rehash=rehash)
            done, total = 0, sum(file.state.size for file, _ in new)
            for group in _groups(new):
                self._load_group(group, report)
                done += sum(file.state.size for file, _ in group)
                self._progress(done, total)
            closed = settle_files(self._connection, batch_id=report.batch_id, now=self._naive_now)
            for (name, _), entries in (requeued.closed + closed).items():
                report.streams[name].closed += entries
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
        return report

    def _begin_batch(self) -> int:
        return open_batch(
            self._connection, cause="load", as_of=self._as_of, now=self._now, run_id=self._run_id
        )

    @property
    def _naive_now(self) -> datetime:
        return self._now.replace(tzinfo=None)

    def _fetch(self, sql: str, parameters: object = None) -> tuple:
        row = self._connection.execute(sql, parameters).fetchone()
        assert row is not None
        return row

    def _new_files(
        self, files: Iterable[LandingFile], report: LoadReport, *, rehash: bool
    ) -> list[tuple[LandingFile, str]]:
        """Files whose path, size and content hash are not known, with their hashes."""
        known = self._connection.execute(
            "select path, size, content_hash, modified_ns, inode from raw.files"
        ).fetchall()
        by_state = {(path, size, modified, inode) for path, size, _, modified, inode in known}
        by_content = {(path, size, hash_) for path, size, hash_, *_ in known}
        new = []
        for file in files:
            state = file.state
            if not rehash and (file.name, state.size, state.modified_ns, state.inode) in by_state:
                report.known_files += 1
                continue
            try:
                hash_ = content_hash(file.path)
            except OSError as error:
                report.remarks.append(
                    f"{file.name} could not be opened ({error.strerror}); {_TRIED_AGAIN}."
                )
                continue
            if (file.name, state.size, hash_) in by_content:
                report.known_files += 1
                self._connection.execute(
                    "update raw.files set modified_ns = ?, inode = ? "
                    "where path = ? and size = ? and content_hash = ?",
                    [state.modified_ns, state.inode, file.name, state.size, hash_],
                )
                continue
            new.append((file, hash_))
        return new

    # --- groups of files -------------------------------------------------------------------

    def _load_group(self, group: list[tuple[LandingFile, str]], report: LoadReport) -> None:
        """Files of one stream and format: together if all is well, else each by itself."""
        (next_id,) = self._fetch("select coalesce(max(file_id), 0) + 1 from raw.files")
        arrivals = []
        for file_id, (file, hash_) in enumerate(group, start=next_id):
            with self._reading(file_id, file, hash_, report):
                copy = readable_copy(file, self._work, str(file_id))
                arrivals.append(_Arrival(file_id, file, hash_, copy))
        if group[0][0].stream == WEBHOOKS:
            self._load_webhooks(arrivals, report)
            arrivals_by_signature = []
        else:
            arrivals_by_signature = self._by_signature(arrivals, report)
        for signature, alike in arrivals_by_signature:
            broken = self._load_together(alike, signature, report)
            for arrival in broken:
                self._load_alone(arrival, signature, report)
        for arrival in arrivals:
            arrival.copy.unlink(missing_ok=True)

    def _by_signature(
        self, arrivals: list[_Arrival], report: LoadReport
    ) -> list[tuple[tuple, list[_Arrival]]]:
        """Arrivals that one statement can read: CSV with one header, Parquet with one schema."""
        alike: dict[tuple, list[_Arrival]] = {}
        for arrival in arrivals:
            with self._reading(arrival.file_id, arrival.file, arrival.hash, report):
                match arrival.file.format:
                    case "csv":
                        signature: tuple = readers.csv_header(arrival.copy)
                    case "parquet":
                        signature = readers.parquet_columns(self._connection, arrival.copy)
                    case _:
                        signature = ()
                alike.setdefault(signature, []).append(arrival)
        return list(alike.items())

    def _load_together(
        self, arrivals: list[_Arrival], signature: tuple, report: LoadReport
    ) -> list[_Arrival]:
        """Loads the files in which no record is refused; returns the others, not loaded."""
        stream = streams()[arrivals[0].file.stream]
        paths = [arrival.copy for arrival in arrivals]
        match arrivals[0].file.format:
            case "jsonl":
                sql = readers.jsonl_fast(stream, paths)
            case "csv" if len(signature) < 2:  # a blank line in it and a value of blanks look alike
                return arrivals
            case "csv":
                sql = readers.csv_fast(stream, paths, signature)
            case _:
                sql = readers.parquet(stream, paths, signature, careful=False)
        try:
            self._connection.execute(
                f"create or replace temp table arrived as {judged_sql(stream, sql)}",
                {"latest": self._latest},
            )
            counted = self._counted_records(arrivals, signature)
        except (duckdb.Error, OSError) as error:
            if system_refuses(error):
                raise
            return arrivals
        arrived = {
            file_id: (records, refused)
            for file_id, records, refused in self._connection.execute(
                "select file_id, count(*), count(reason) from arrived group by file_id"
            ).fetchall()
        }
        whole, broken = [], []
        for arrival in arrivals:
            records, refused = arrived.get(arrival.file_id, (0, 0))
            is_whole = refused == 0 and records == counted[arrival.file_id]
            (whole if is_whole else broken).append(arrival)
        with transaction(self._connection):
            kept = []
            for arrival in whole:
                if self._is_unchanged(arrival.file, report):
                    records, _ = arrived.get(arrival.file_id, (0, 0))
                    self._record_file(arrival, report, records=records, loaded=records)
                    kept.append(arrival.file_id)
            self._insert_arrived(stream, kept, report)
        self._connection.execute("drop table if exists arrived")
        return broken

    def _counted_records(self, arrivals: list[_Arrival], signature: tuple) -> dict[int, int | None]:
        """Records by file as another way of counting finds them, None where it cannot.

        JSON Lines: the lines that are not blank. CSV: the rows that the careful reader splits the
        file into. Parquet: the number of rows that the file's footer states.
        """
        match arrivals[0].file.format:
            case "jsonl":
                return {arrival.file_id: count_lines(arrival.copy) for arrival in arrivals}
            case "csv":
                width = len(signature)
                return {a.file_id: readers.count_csv_records(a.copy, width) for a in arrivals}
        return {
            arrival.file_id: self._fetch(
                "select coalesce(sum(num_rows), 0)::bigint from parquet_file_metadata(?)",
                [str(arrival.copy)],
            )[0]
            for arrival in arrivals
        }

    # --- one file --------------------------------------------------------------------------

    def _load_alone(self, arrival: _Arrival, signature: tuple, report: LoadReport) -> None:
        """Loads one file record by record, the broken ones into quarantine."""
        stream = streams()[arrival.file.stream]
        with (
            self._reading(arrival.file_id, arrival.file, arrival.hash, report),
            transaction(self._connection),
        ):
            if arrival.file.format == "parquet":
                records, loaded = self._take_parquet(stream, arrival, signature, report)
            else:
                records, loaded = self._take_text(stream, arrival, signature, report)
            if not self._is_unchanged(arrival.file, report):
                raise ChangedWhileReadError
            # Without its header no one could read a refused row of a CSV file again.
            is_needed = arrival.file.format == "csv" and loaded < records
            header = json.dumps(signature, ensure_ascii=False) if is_needed else None
            self._record_file(arrival, report, records=records, loaded=loaded, header=header)

    @contextmanager
    def _reading(
        self, file_id: int, file: LandingFile, hash_: str, report: LoadReport
    ) -> Iterator[None]:
        """What becomes of a file that the block cannot read: quarantine, or the next run's turn."""
        try:
            yield
        except ChangedWhileReadError:
            pass
        except (UnreadableFileError, OSError) as error:
            if system_refuses(error):
                raise
            if not self._is_unchanged(file, report):
                return
            if isinstance(error, OSError):
                raise
            self._quarantine_file(file_id, file, hash_, str(error), report)

    def _take_parquet(
        self, stream: Stream, arrival: _Arrival, columns: tuple, report: LoadReport
    ) -> tuple[int, int]:
        sql = readers.parquet(stream, [arrival.copy], columns, careful=True)
        try:
            self._connection.execute(
                f"create or replace temp table arrived as {judged_sql(stream, sql)}",
                {"latest": self._latest},
            )
        except duckdb.Error as error:
            raise readers.unreadable_parquet(error, arrival.copy) from None
        return self._take_arrived(stream, arrival, report)

    def _take_text(
        self, stream: Stream, arrival: _Arrival, header: tuple, report: LoadReport
    ) -> tuple[int, int]:
        if arrival.file.format == "jsonl":
            batches = readers.jsonl_careful(stream, arrival.copy)
        elif header:
            batches = readers.csv_careful(stream, arrival.copy, header)
        else:
            return 0, 0
        records = loaded = 0
        for batch, sql in batches:
            self._connection.register("batch", batch)
            self._connection.execute(
                f"create or replace temp table arrived as {judged_sql(stream, sql)}",
                {"latest": self._latest, "file_id": arrival.file_id},
            )
            self._connection.unregister("batch")
            taken = self._take_arrived(stream, arrival, report)
            records, loaded = records + taken[0], loaded + taken[1]
        return records, loaded

    def _take_arrived(
        self, stream: Stream, arrival: _Arrival, report: LoadReport
    ) -> tuple[int, int]:
        """Moves the temp table `arrived` into raw and quarantine; returns (records, loaded)."""
        records, refused = self._fetch("select count(*), count(reason) from arrived")
        if refused:
            insert_refused(
                self._connection,
                stream,
                arrival.file.name,
                batch_id=report.batch_id,
                now=self._naive_now,
            )
        self._insert_arrived(stream, [arrival.file_id], report)
        self._connection.execute("drop table if exists arrived")
        return records, records - refused

    def _insert_arrived(self, stream: Stream, file_ids: list[int], report: LoadReport) -> None:
        insert_valid(self._connection, stream, batch_id=report.batch_id, file_ids=file_ids)

    # --- webhooks --------------------------------------------------------------------------

    def _load_webhooks(self, arrivals: list[_Arrival], report: LoadReport) -> None:
        """Loads the requests of these files: all files together, or each by itself if one of them
        is written to meanwhile."""
        readable = []
        for arrival in arrivals:
            file = arrival.file
            with self._reading(arrival.file_id, file, arrival.hash, report):
                webhooks.check_file(arrival.copy, file.name, file.format, self._connection)
                readable.append(arrival)
        try:
            self._take_webhooks(readable, report)
        except (ChangedWhileReadError, UnreadableFileError):
            for arrival in readable:
                with self._reading(arrival.file_id, arrival.file, arrival.hash, report):
                    self._take_webhooks([arrival], report)

    def _take_webhooks(self, arrivals: list[_Arrival], report: LoadReport) -> None:
        with transaction(self._connection):
            intake = webhooks.Intake(
                self._connection,
                batch_id=report.batch_id,
                now=self._naive_now,
                latest=self._latest,
            )
            taken = intake.take(
                line
                for arrival in arrivals
                for line in webhooks.lines_of(
                    self._connection,
                    arrival.copy,
                    arrival.file.name,
                    arrival.file.format,
                    arrival.file_id,
                )
            )
            accounts = [taken.get(arrival.file_id, webhooks.Taken()) for arrival in arrivals]
            for arrival, of_file in zip(arrivals, accounts, strict=True):
                if state_of(arrival.file.path) != arrival.file.state:
                    if len(arrivals) == 1:
                        self._is_unchanged(arrival.file, report)
                    raise ChangedWhileReadError
                self._insert_file(
                    *(arrival.file_id, arrival.file, arrival.hash, report, "loaded", None),
                    of_file.results,
                    of_file.loaded,
                    set_aside=of_file.set_aside,
                )
        for of_file in accounts:
            load = report.streams[WEBHOOKS]
            load.files += 1
            load.records += of_file.results
            load.loaded += of_file.loaded
            load.set_aside += of_file.set_aside
            load.quarantined += of_file.quarantined

    # --- accounts of files -----------------------------------------------------------------

    def _quarantine_file(
        self, file_id: int, file: LandingFile, hash_: str, reason: str, report: LoadReport
    ) -> None:
        """A file that cannot be read at all, kept aside whole."""
        with transaction(self._connection):
            self._connection.execute(
                "insert into raw.quarantine (quarantine_id, file_id, stream, path, reason, "
                "batch_id, quarantined_at, judged_by) "
                "select coalesce(max(quarantine_id), 0) + 1, ?, ?, ?, ?, ?, ?, ? "
                "from raw.quarantine",
                [
                    file_id,
                    file.stream,
                    file.name,
                    f"the file {reason}",
                    report.batch_id,
                    self._naive_now,
                    rules(),
                ],
            )
            self._insert_file(file_id, file, hash_, report, "unreadable", reason, 0, 0)
        report.streams[file.stream].unreadable_files += 1

    def _record_file(
        self,
        arrival: _Arrival,
        report: LoadReport,
        *,
        records: int,
        loaded: int,
        header: str | None = None,
    ) -> None:
        self._insert_file(
            *(arrival.file_id, arrival.file, arrival.hash, report, "loaded", None, records, loaded),
            header=header,
        )
        load = report.streams[arrival.file.stream]
        load.files += 1
        load.records += records
        load.loaded += loaded
        load.quarantined += records - loaded

    def _insert_file(
        self,
        file_id: int,
        file: LandingFile,
        hash_: str,
        report: LoadReport,
        status: str,
        reason: str | None,
        records: int,
        loaded: int,
        header: str | None = None,
        set_aside: int = 0,
    ) -> None:
        self._connection.execute(
            "insert into raw.files (file_id, stream, path, size, modified_ns, inode, "
            "content_hash, landing_day, batch_id, status, reason, records, loaded, quarantined, "
            "loaded_at, header, set_aside, settled) "
            "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, false)",
            [
                file_id,
                file.stream,
                file.name,
                file.state.size,
                file.state.modified_ns,
                file.state.inode,
                hash_,
                self._now.date(),
                report.batch_id,
                status,
                reason,
                records,
                loaded,
                records - loaded - set_aside,
                self._naive_now,
                header,
                set_aside,
            ],
        )

    def _is_unchanged(self, file: LandingFile, report: LoadReport) -> bool:
        """Whether the landing file still is what was hashed."""
        try:
            unchanged = state_of(file.path) == file.state
        except OSError:
            unchanged = False
        if not unchanged:
            report.remarks.append(f"{file.name} was written to while it was read; {_TRIED_AGAIN}.")
        return unchanged


def _groups(files: list[tuple[LandingFile, str]]) -> list[list[tuple[LandingFile, str]]]:
    """Files of one stream and format, at most so many files and bytes together."""
    groups: list[list[tuple[LandingFile, str]]] = []
    size = 0
    for file, hash_ in sorted(files, key=lambda new: (new[0].stream, new[0].format, new[0].name)):
        last = groups[-1][-1][0] if groups else None
        fits = (
            last is not None
            and (last.stream, last.format) == (file.stream, file.format)
            and len(groups[-1]) < _GROUP_FILES
            and size + file.state.size <= _GROUP_BYTES
        )
        if fits:
            groups[-1].append((file, hash_))
            size += file.state.size
        else:
            groups.append([(file, hash_)])
            size = file.state.size
    return groups
