"""Which quarantine entries are closed by what has arrived since, and why.

An entry stays open until a good version of its record or of its file arrives, or until the same
refusal is told by a younger entry. Records that have become valid by themselves are `requeue`'s.
"""

from collections import Counter
from datetime import datetime

import duckdb

from orchestration.loading.records import Stream, streams
from orchestration.warehouse import HASHED_IDS, look_up_hash, transaction

# Why entries are closed.
REQUEUED = "requeued"
ARRIVED_AGAIN = "arrived again"
FILE_REPLACED = "file replaced"
REFUSED_AGAIN = "refused again"

# Entries closed, by stream and cause.
Closed = Counter[tuple[str, str]]


def settle_files(connection: duckdb.DuckDBPyConnection, *, batch_id: int, now: datetime) -> Closed:
    """Lets the files that arrived last close what they close. All of it in one transaction.

    Those are the files of this load, and of earlier ones that were killed before they came to it:
    in what order they were taken makes no difference among them.
    """
    row = connection.execute(
        "select count(*), min(batch_id), exists (from raw.quarantine where closed_at is null) "
        "from raw.files where not settled"
    ).fetchone()
    files, since, any_open = row or (0, None, False)
    closed = Closed()
    if not files:
        return closed
    with transaction(connection):
        if any_open:
            closing = _Closing(connection, batch_id, now, files="not settled")
            closed += closing.by_good_records(
                f"good.batch_id >= {since} "
                "and good.file_id in (select file_id from raw.files where not settled)",
                since=since,
            )
            closed += closing.by_good_files()
            closed += closing.by_the_same_refusal()
        connection.execute("update raw.files set settled = true where not settled")
    return closed


def close_after_requeue(
    connection: duckdb.DuckDBPyConnection, *, batch_id: int, now: datetime
) -> Closed:
    """Lets the records of a requeue close what they close, and the files that it made whole."""
    mended = (
        "quarantined = 0 and file_id in "
        f"(select file_id from raw.quarantine where closed_by_batch = {batch_id})"
    )
    closing = _Closing(connection, batch_id, now, files=mended)
    return (
        closing.by_good_records(f"good.batch_id = {batch_id}", since=batch_id)
        + closing.by_good_files()
    )


class _Closing:
    """Closes entries in a transaction of the caller's.

    files: SQL that holds for the files that close them, over the columns of raw.files.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, batch_id: int, now: datetime, *, files: str
    ) -> None:
        self._connection = connection
        self._batch_id = batch_id
        self._now = now
        self._files = f"(from raw.files where {files})"

    def _close(self, because: str, entries: str) -> Closed:
        closed = self._connection.execute(
            "update raw.quarantine set closed_at = $now, closed_by_batch = $batch_id, "
            f"closed_because = $because where closed_at is null and quarantine_id in ({entries}) "
            "returning stream",
            {"now": self._now, "batch_id": self._batch_id, "because": because},
        ).fetchall()
        return Counter((stream, because) for (stream,) in closed)

    def by_good_records(self, goods: str, *, since: int) -> Closed:
        """Records that arrived well in another file, in a version that is not an older one.

        Where no version can be compared, a mere repeat of what was held when the record was
        refused closes nothing, for it may be what the refused record corrects; unless it comes
        under the name of the refused record's file, mended.

        goods: SQL that holds for the rows of the raw tables (`good`) that count.
        since: the first batch that they are of.
        """
        closed = Closed()
        for stream in streams().values():
            closed += self._close(
                ARRIVED_AGAIN,
                f"""
                with candidate as (
                    select
                        entry.quarantine_id,
                        least(entry.batch_id, {since}) as held_before,
                        (
                            entry.version is not null
                            or (entry.path = file.path and entry.file_id < file.file_id)
                        ) as is_answer,
                        good
                    from raw.quarantine as entry
                    inner join raw.{stream.name} as good on {_is_the_same_record(stream)}
                    inner join raw.files as file on good.file_id = file.file_id
                    where
                        entry.stream = '{stream.name}'
                        and entry.closed_at is null
                        and entry.file_id <> good.file_id
                        and {goods}
                )
                select quarantine_id from candidate where is_answer
                union all
                select quarantine_id
                from candidate
                anti join raw.{stream.name} as held on {_is_news_no_more(stream)}
                """,
            )
        return closed

    def by_good_files(self) -> Closed:
        """Unreadable files that arrived readable, under their name or another, and records
        without a readable id whose file was replaced by one in which all is well."""
        closed = self._close(
            FILE_REPLACED,
            f"""
            select entry.quarantine_id
            from raw.quarantine as entry
            inner join {self._files} as good on entry.path = good.path
            where
                entry.closed_at is null
                and entry.file_id < good.file_id
                and good.status = 'loaded'
                and (
                    entry.row_number is null
                    or (entry.record_id is null and good.quarantined = 0)
                )
            """,
        )
        return closed + self._close(
            ARRIVED_AGAIN,
            f"""
            select entry.quarantine_id
            from raw.quarantine as entry
            inner join raw.files as refused on entry.file_id = refused.file_id
            inner join {self._files} as good on refused.content_hash = good.content_hash
            where
                entry.closed_at is null
                and entry.row_number is null
                and entry.stream = good.stream
                and good.status = 'loaded'
            """,
        )

    def by_the_same_refusal(self) -> Closed:
        """What was refused once more in a younger file: the same text, or the file of that name."""
        closed = self._close(
            REFUSED_AGAIN,
            f"""
            select entry.quarantine_id
            from raw.quarantine as entry
            inner join raw.files as refused on entry.file_id = refused.file_id
            inner join raw.quarantine as younger
                on entry.stream = younger.stream and entry.raw_text = younger.raw_text
            inner join {self._files} as file on younger.file_id = file.file_id
            where
                entry.closed_at is null
                and entry.file_id < younger.file_id
                and coalesce(refused.header, file.header) is not distinct from file.header
            """,
        )
        return closed + self._close(
            REFUSED_AGAIN,
            f"""
            select entry.quarantine_id
            from raw.quarantine as entry
            inner join {self._files} as file on entry.path = file.path
            where
                entry.closed_at is null
                and entry.row_number is null
                and entry.file_id < file.file_id
                and file.status = 'unreadable'
            """,
        )


def _is_the_same_record(stream: Stream) -> str:
    """SQL: is this row (`good`) the record of this entry (`entry`), in no older version?"""
    conditions = [
        f"{look_up_hash('entry.record_id')} = good.{hashed}" for hashed in _key_hashes(stream)
    ]
    conditions.append(f"entry.record_id = good.{stream.key}")
    conditions.append(f"(entry.version is null or {stream.version('good.')} >= entry.version)")
    return " and ".join(conditions)


def _is_news_no_more(stream: Stream) -> str:
    """SQL: was this row (`held`) there before the refusal, and newer than or like the good one?"""
    conditions = [f"good.{hashed} = held.{hashed}" for hashed in _key_hashes(stream)]
    conditions.append(f"good.{stream.key} = held.{stream.key}")
    conditions.append("held.batch_id < held_before")
    same = " and ".join(
        f"good.{name} is not distinct from held.{name}" for name in stream.field_names
    )
    conditions.append(f"({stream.version('held.')} > {stream.version('good.')} or ({same}))")
    return " and ".join(conditions)


def _key_hashes(stream: Stream) -> list[str]:
    """The columns of a raw table that hold the first half of its key's hash, if there are any."""
    return [name for name, column in HASHED_IDS[stream.name].items() if column == stream.key]
