"""Refused records judged again by today's rules, and taken in where they have become valid.

By itself at the start of a load, for entries that other rules refused, or that lay too far ahead
and no longer do; or by hand. What closes entries besides is told in `closing`.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import duckdb

from msgmetrics.errors import UserError
from orchestration.batches import open_batch
from orchestration.loading import readers
from orchestration.loading.arrived import insert_valid, rules
from orchestration.loading.closing import REQUEUED, Closed, close_after_requeue
from orchestration.loading.landing import ENDINGS
from orchestration.loading.records import FUTURE, WEBHOOKS, Stream, judged_sql, streams
from orchestration.loading.webhooks import Intake, requests_again
from orchestration.warehouse import transaction

_BATCH_RECORDS = 50_000
# An entry of a CSV file whose header was not kept: such are only in homes of the first release.
_NO_HEADER = "; it can only be judged again when its file is delivered again"


@dataclass
class RequeueReport:
    """What a requeue did. batch_id: None where nothing had become valid, so that none was opened;
    judged: entries judged again; requeued: records taken in by stream; closed: all entries closed
    on that account, those among them."""

    batch_id: int | None = None
    judged: int = 0
    requeued: Counter[str] = field(default_factory=Counter)
    closed: Closed = field(default_factory=Counter)


class Requeue:
    """Judges open entries again. The connection must be the only writer, its tables in place.

    `now` is the wall clock that the 24-hour rule looks at. Each call is one transaction.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        now: datetime,
        as_of: datetime,
        run_id: str | None = None,
    ) -> None:
        self._connection = connection
        self._now = now
        self._as_of = as_of
        self._run_id = run_id
        self._rules = rules()
        self._latest = (now + FUTURE).replace(tzinfo=None)
        readers.prepare(connection)

    @property
    def _naive_now(self) -> datetime:
        return self._now.replace(tzinfo=None)

    def due(self) -> RequeueReport:
        """Entries for which rules or time have changed since they were judged last."""
        return self._requeue(
            "judged_by is distinct from $rules or valid_from <= $now",
            {"rules": self._rules, "now": self._naive_now},
        )

    def every(self) -> RequeueReport:
        """All open entries."""
        return self._requeue("true", {})

    def these(self, ids: list[int]) -> RequeueReport:
        """The entries of these ids. Raises UserError where one is not an open entry of a record."""
        known = {
            id_: (row_number, because)
            for id_, row_number, because in self._connection.execute(
                "select quarantine_id, row_number, closed_because from raw.quarantine "
                "where list_contains($ids::bigint[], quarantine_id)",
                {"ids": ids},
            ).fetchall()
        }
        for id_ in ids:
            if id_ not in known:
                raise UserError(
                    f"There is no quarantine entry {id_}: `msgmetrics quarantine list` shows ids."
                )
            row_number, because = known[id_]
            if because is not None:
                raise UserError(f"The quarantine entry {id_} is closed ({because}): leave it out.")
            if row_number is None:
                raise UserError(
                    f"The quarantine entry {id_} is a whole file, which is read again when its "
                    "content changes: leave it out, and put the file right."
                )
        return self._requeue("list_contains($ids::bigint[], quarantine_id)", {"ids": ids})

    def _requeue(self, which: str, parameters: dict[str, object]) -> RequeueReport:
        report = RequeueReport()
        which = f"closed_at is null and row_number is not null and ({which})"
        found = self._connection.execute(
            f"select count(*) from raw.quarantine where {which}", parameters
        ).fetchone()
        if found is None or not found[0]:
            return report
        report.judged = found[0]
        with transaction(self._connection):
            self._connection.execute(
                f"""
                create or replace temp table pending as
                select
                    quarantine_id, file_id, stream, path, row_number as row_in_file, raw_text,
                    kept_as, header,
                    (
                        row_number() over (
                            partition by stream, kept_as, header order by quarantine_id
                        ) - 1
                    ) // {_BATCH_RECORDS} as batch
                from (select *, {_kept_as("path")} as kept_as from raw.quarantine where {which})
                inner join (select file_id, header from raw.files) using (file_id)
                """,
                parameters,
            )
            for stream, kept_as, header, batch in self._connection.execute(
                "select distinct stream, kept_as, header, batch from pending order by all"
            ).fetchall():
                if stream == WEBHOOKS:
                    self._take_webhooks(report, batch)
                else:
                    self._judge(report, stream, kept_as, header, batch)
            if report.batch_id is not None:
                report.closed += close_after_requeue(
                    self._connection, batch_id=report.batch_id, now=self._naive_now
                )
            self._connection.execute("drop table pending")
        return report

    def _judge(
        self, report: RequeueReport, name: str, kept_as: str, header: str | None, batch: int
    ) -> None:
        """Judges a batch of the pending entries and does what follows for each."""
        stream = streams()[name]
        rows = (
            "from pending where stream = $stream and kept_as = $kept_as "
            "and header is not distinct from $header and batch = $batch"
        )
        chosen = {"stream": name, "kept_as": kept_as, "header": header, "batch": batch}
        if kept_as == "csv" and header is None:
            self._connection.execute(
                "update raw.quarantine set judged_by = $rules, "
                "reason = case when judged_by is null then reason || $remark else reason end "
                f"where quarantine_id in (select quarantine_id {rows})",
                {**chosen, "rules": self._rules, "remark": _NO_HEADER},
            )
            return
        if kept_as == "csv":
            kept = self._connection.execute(
                f"select file_id, quarantine_id, raw_text {rows}", chosen
            ).fetchall()
            table, sql = readers.kept_csv(stream, tuple(json.loads(header or "[]")), kept)
            self._connection.register("batch", table)
            chosen = {}
        else:
            sql = readers.kept_json(
                stream,
                "select file_id, quarantine_id as row_number, raw_text as raw, raw_text as line "
                + rows,
            )
        self._connection.execute(
            f"create or replace temp table arrived as {judged_sql(stream, sql)}",
            {**chosen, "latest": self._latest},
        )
        if kept_as == "csv":
            self._connection.unregister("batch")
        self._take_in(report, stream)
        self._connection.execute(
            f"""
            update raw.quarantine as entry
            set
                reason = arrived.reason,
                record_id = arrived.{stream.key},
                version = arrived.version,
                valid_from = arrived.valid_from,
                judged_by = $rules
            from arrived
            where arrived.reason is not null and entry.quarantine_id = arrived.row_number
            """,
            {"rules": self._rules},
        )
        self._connection.execute("drop table arrived")

    def _open_batch(self, report: RequeueReport) -> int:
        """The batch of this requeue, opened if it is not yet."""
        if report.batch_id is None:
            report.batch_id = open_batch(
                self._connection,
                cause="requeue",
                as_of=self._as_of,
                now=self._now,
                run_id=self._run_id,
            )
        return report.batch_id

    def _take_webhooks(self, report: RequeueReport, batch: int) -> None:
        """Reads a batch of refused requests again."""
        pending = self._connection.execute(
            "select quarantine_id, file_id, path, row_in_file, raw_text from pending "
            "where stream = $stream and batch = $batch order by quarantine_id",
            {"stream": WEBHOOKS, "batch": batch},
        ).fetchall()
        # A batch that takes nothing in is no cause of a restatement: its number goes to the next.
        (last,) = self._connection.execute(
            "select coalesce(max(batch_id), 0) from raw.batches"
        ).fetchone() or (0,)
        intake = Intake(
            self._connection,
            batch_id=report.batch_id or last + 1,
            now=self._naive_now,
            latest=self._latest,
        )
        entries = intake.take_again(requests_again(pending))
        if not entries:
            return
        batch_id = self._open_batch(report)
        self._connection.execute(
            "update raw.quarantine set closed_at = $now, closed_by_batch = $batch_id, "
            "closed_because = $because where list_contains($entries::bigint[], quarantine_id)",
            {
                "now": self._naive_now,
                "batch_id": batch_id,
                "because": REQUEUED,
                "entries": entries,
            },
        )
        report.requeued[WEBHOOKS] += len(entries)
        report.closed[WEBHOOKS, REQUEUED] += len(entries)

    def _take_in(self, report: RequeueReport, stream: Stream) -> None:
        """The valid ones: into the raw table, out of quarantine, into their files' accounts."""
        file_ids = [
            file_id
            for (file_id,) in self._connection.execute(
                "select distinct file_id from arrived where reason is null"
            ).fetchall()
        ]
        if not file_ids:
            return
        batch_id = self._open_batch(report)
        insert_valid(self._connection, stream, batch_id=batch_id, file_ids=file_ids)
        closed = self._connection.execute(
            "update raw.quarantine set closed_at = $now, closed_by_batch = $batch_id, "
            "closed_because = $because "
            "where quarantine_id in (select row_number from arrived where reason is null) "
            "returning stream",
            {"now": self._naive_now, "batch_id": batch_id, "because": REQUEUED},
        ).fetchall()
        self._connection.execute(
            """
            update raw.files
            set loaded = loaded + taken.records, quarantined = quarantined - taken.records
            from (
                select file_id, count(*) as records from arrived where reason is null group by all
            ) as taken
            where files.file_id = taken.file_id
            """
        )
        report.requeued[stream.name] += len(closed)
        report.closed[stream.name, REQUEUED] += len(closed)


def _kept_as(path: str) -> str:
    """SQL: as what the raw text of the records of a file of this path is kept."""
    cases = " ".join(
        f"when ends_with({path}, '{ending}') then '{readers.KEPT_AS[format_]}'"
        for ending, (format_, _) in ENDINGS.items()
    )
    return f"case {cases} end"
