"""The warehouse file: its raw tables, its connections, and the lock that keeps writers apart.

Only the loader's own tables are made here (schema `raw`); dbt makes all the others.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

import duckdb
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration import progress
from orchestration.loading.records import streams
from orchestration.loading.system import is_without_room, no_room
from orchestration.webhooks.reading import CANONICAL

_TABLES = """
create schema if not exists raw;

create table if not exists raw.batches (
    batch_id integer primary key,
    run_id varchar,
    as_of timestamp not null,
    started_at timestamp not null,
    cause varchar default 'load',
    from_day date,
    to_day date
);
-- A home of the first release lacks these; so do its stream tables, below.
alter table raw.batches add column if not exists cause varchar default 'load';
alter table raw.batches add column if not exists from_day date;
alter table raw.batches add column if not exists to_day date;
comment on table raw.batches is
    'One row per cause of a restatement: a pass over the landing zone (load), the recomputation of
    sent-days (backfill; of all days if they are null), records taken out of quarantine (requeue).';

create table if not exists raw.files (
    file_id integer primary key,
    stream varchar not null,
    path varchar not null,
    size bigint not null,
    modified_ns bigint not null,
    inode ubigint not null,
    content_hash varchar not null,
    landing_day date not null,
    batch_id integer not null,
    status varchar not null check (status in ('loaded', 'unreadable')),
    reason varchar,
    records bigint not null,
    loaded bigint not null,
    quarantined bigint not null,
    loaded_at timestamp not null,
    header varchar,
    settled boolean default false,
    set_aside bigint not null default 0,
    check (records = loaded + set_aside + quarantined)
);
alter table raw.files add column if not exists header varchar;
alter table raw.files add column if not exists settled boolean default false;
comment on table raw.files is
    'One row per content of a landing file: path, size and content hash together are its identity.
    Quarantined are its refused records that were not taken in since; set_aside: results of webhooks
    that are no message traffic; header: the column names of a CSV file with refused records;
    settled: what it holds has closed what it closes in quarantine.';

create table if not exists raw.quarantine (
    quarantine_id bigint primary key,
    file_id integer not null,
    stream varchar not null,
    path varchar not null,
    row_number bigint,
    raw_text varchar,
    reason varchar not null,
    batch_id integer not null,
    quarantined_at timestamp not null,
    record_id varchar,
    version timestamp,
    valid_from timestamp,
    judged_by varchar,
    closed_at timestamp,
    closed_by_batch integer,
    closed_because varchar
);
alter table raw.quarantine add column if not exists record_id varchar;
alter table raw.quarantine add column if not exists version timestamp;
alter table raw.quarantine add column if not exists valid_from timestamp;
alter table raw.quarantine add column if not exists judged_by varchar;
alter table raw.quarantine add column if not exists closed_at timestamp;
alter table raw.quarantine add column if not exists closed_by_batch integer;
alter table raw.quarantine add column if not exists closed_because varchar;
comment on table raw.quarantine is
    'One row per refused record; row_number is null where a whole file was refused. An entry is
    open until closed_at is set. record_id, version: of the record, where they can be read;
    valid_from: when it is no longer too far ahead, if that is all that is wrong with it;
    judged_by: the rules that refused it last.';

create table if not exists raw.published_files (
    snapshot_id varchar not null,
    batch_id integer not null
);
comment on table raw.published_files is
    'One row per published file that was made of this warehouse and is still there, written before
    the file has a name. A file that is not here shows other batches of the same numbers: it was
    made of another warehouse, or after the copy from which this one was put back.';

create table if not exists raw.webhooks (
    file_id integer not null,
    batch_id integer not null,
    row_number bigint not null,
    result_number integer not null,
    provider varchar not null,
    account_key varchar not null,
    received_at timestamp not null,
    kind varchar not null,
    outcome varchar not null check (outcome in ('loaded', 'set aside')),
    body varchar not null
);
comment on table raw.webhooks is
    'One row per result that a provider reported and that was read, repeats included: what kind of
    payload it is, whether it was loaded or set aside as no message traffic, and what was posted.';
"""


# Loading, a batch, the last gate and publication are no slower with so much; with more, DuckDB
# would hold blocks of the file, which the system keeps anyway.
ENOUGH_MEBIBYTES = 1400


def machine_mebibytes() -> int:
    """Of the machine's memory, or of the container's, what DuckDB takes by itself."""
    with duckdb.connect() as connection:
        (most,) = connection.execute(
            "select parse_formatted_bytes(current_setting('memory_limit'))"
        ).fetchone()
    return most // 2**20


def enough_memory(settings: Settings) -> str:
    """The limit, as DuckDB reads it, of whatever does not compute everything."""
    return settings.memory or f"{min(ENOUGH_MEBIBYTES, machine_mebibytes())}MiB"


# Columns that stand for an id wherever records are found, joined and grouped, which takes a
# fraction of the time that the id itself would: 64 bits of its MD5, and 64 bits of another's. A
# restatement finds the records of a message by the first half alone, eight times as fast as by the
# id; the ids of one first half are told apart by the second.
HASHED_IDS = {
    "messages": {"message_hash": "message_id"},
    "events": {"event_hash": "event_id", "message_hash": "message_id"},
    "accounts": {},
}
# Streams of which webhooks tell, too: a record of the stream itself has the greatest source_rank.
TOLD_BY_WEBHOOKS = ("messages", "events")
_SOURCE_RANK = f"source_rank utinyint default {CANONICAL}"


def look_up_hash(column: str) -> str:
    """SQL of the first half of an id's hash: the same in every release of DuckDB, unlike hash().

    It is md5_number_lower(), but quicker than that.
    """
    return f"(md5_number({column}) >> 64)::ubigint"


def hashes_of_ids(stream: str) -> dict[str, str]:
    """The columns of a raw table that hold both halves of hashes of ids, each with its SQL.

    The second half is of the id with a sign before it: ids that share their whole MD5 can be made,
    and are to be had, but not such as share that of both texts.
    """
    halves = {}
    for name, column in HASHED_IDS[stream].items():
        halves[name] = look_up_hash(column)
        halves[f"{name}_rest"] = look_up_hash(f"('.' || {column})")
    return halves


def hashes_to_insert(stream: str) -> tuple[str, str]:
    """The names of these columns, and their SQL, each after a comma: ends of an INSERT's lists."""
    hashes = hashes_of_ids(stream)
    return "".join(f", {name}" for name in hashes), "".join(f", {sql}" for sql in hashes.values())


def _stream_tables() -> str:
    tables = []
    for stream in streams().values():
        columns = ",\n    ".join(f"{field.name} {field.column_type}" for field in stream.fields)
        hashes = hashes_of_ids(stream.name)
        tables.append(
            f"create table if not exists raw.{stream.name} (\n    {columns},\n"
            "    extra varchar,\n    file_id integer not null,\n    batch_id integer not null"
            + "".join(f",\n    {name} ubigint" for name in hashes)
            + (f",\n    {_SOURCE_RANK}" if stream.name in TOLD_BY_WEBHOOKS else "")
            + "\n);\n"
            f"comment on table raw.{stream.name} is "
            "'One row per valid record that arrived, as it came, repeats included.';"
        )
    return "\n".join(tables)


def _bring_up_to_date(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds to tables of earlier releases what they lack."""
    for stream in TOLD_BY_WEBHOOKS:
        connection.execute(f"alter table raw.{stream} add column if not exists {_SOURCE_RANK}")
    for stream in HASHED_IDS:
        known = {row[0] for row in connection.execute(f"describe raw.{stream}").fetchall()}
        lacking = [name for name in hashes_of_ids(stream) if name not in known]
        if not lacking:
            continue
        with transaction(connection):
            for name in lacking:
                connection.execute(f"alter table raw.{stream} add column {name} ubigint")
            hash_ids(connection, stream)


def hash_ids(connection: duckdb.DuckDBPyConnection, stream: str) -> None:
    """Fills in the hashes of ids in rows of a raw table that lack some."""
    values = ", ".join(f"{name} = {sql}" for name, sql in hashes_of_ids(stream).items())
    lacking = " or ".join(f"{name} is null" for name in hashes_of_ids(stream))
    if values:
        connection.execute(f"update raw.{stream} set {values} where {lacking}")


@contextmanager
def warehouse(
    settings: Settings, *, read_only: bool = False
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse file with the machine's limits set; closed at the end.

    Raises UserError where the file is held by another process or is no warehouse.
    """
    path = settings.warehouse_path
    if read_only and not path.exists():
        raise UserError(
            f"There is no warehouse at {path} yet: run `msgmetrics run` first, "
            "or set MSGMETRICS_HOME to the folder that holds one."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _open(path, read_only=read_only)
    try:
        connection.execute(f"set threads = {settings.warehouse_threads}")
        connection.execute("set timezone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")
        connection.execute("set memory_limit = ?", [enough_memory(settings)])
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commits at the end of the block, rolls back if it raises."""
    connection.execute("begin transaction")
    try:
        yield
    except BaseException:
        # After an error that DuckDB holds for fatal there is nothing left to roll back, and the
        # first error is the one to tell.
        with suppress(duckdb.Error):
            connection.execute("rollback")
        raise
    connection.execute("commit")


# What is done with a cursor of one's own, in a transaction of its own.
Work = Callable[[duckdb.DuckDBPyConnection], None]


def side_by_side(
    connection: duckdb.DuckDBPyConnection,
    works: Iterable[Work],
    done: Callable[[int], None] = lambda finished: None,
) -> None:
    """Does all of these, as many at once as DuckDB has threads, in about that order.

    It shares a large table out among its threads, but what a batch changes of a mart is too little
    for that. done: is told how many are finished. What one of them raises is raised, and those that
    were not begun never are.
    """
    (threads,) = connection.execute("select current_setting('threads')").fetchone()
    cursors: SimpleQueue[duckdb.DuckDBPyConnection] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(threads):
            cursors.put(stack.enter_context(closing(connection.cursor())))

        def do(work: Work) -> None:
            cursor = cursors.get()
            try:
                with transaction(cursor):
                    work(cursor)
            finally:
                cursors.put(cursor)

        pool = stack.enter_context(ThreadPoolExecutor(threads))
        stack.callback(pool.shutdown, cancel_futures=True)
        finishing = as_completed([pool.submit(do, work) for work in works])
        for number, finished in enumerate(finishing, start=1):
            finished.result()
            done(number)


class _HeldError(UserError):
    """Another process has the file open."""


def _open(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Opens the file, waiting while another process has it.

    A run that was killed may leave its dbt process behind, which ends by itself: writers wait for
    it as long as a build may take, readers for some seconds.
    """
    waiting = Retrying(
        retry=retry_if_exception_type(_HeldError),
        stop=stop_after_delay(5 if read_only else 600),
        wait=wait_fixed(0.5),
        reraise=True,
    )
    return waiting(_try_open, path, read_only)


def _who_writes(path: Path) -> str:
    """Who has this warehouse open, in words; where the holder of the lock was killed, it is a dbt
    process that it had started, which ends by itself."""
    holder = _lock_path(path.parent)
    said = holder.read_text("utf-8").strip() if holder.exists() else ""
    number = said.rpartition(" ")[2]
    if not number.isdigit():
        return "another process"
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return "what a killed run has left behind"
    except PermissionError:  # it runs, under another user
        pass
    return said


def _try_open(path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        if not read_only and not path.exists():
            _create(path)
        return duckdb.connect(str(path), read_only=read_only)
    except duckdb.Error as error:
        if is_without_room(error):
            raise no_room(path.parent) from None
        if "lock" in str(error).lower():
            raise _HeldError(
                f"The warehouse {path} is being written by {_who_writes(path)}: try again when "
                "that has ended; `msgmetrics status` and `msgmetrics query` answer meanwhile."
            ) from None
        raise UserError(
            f"The warehouse {path} cannot be opened ({str(error).splitlines()[0]}): "
            "move it away, and run `msgmetrics run` to build it anew."
        ) from None


def _create(path: Path) -> None:
    """Makes the file whole before it has its name: one that is begun only cannot be opened."""
    begun = path.with_suffix(".begun")
    begun.unlink(missing_ok=True)
    duckdb.connect(str(begun)).close()
    begun.replace(path)


def create_raw_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """The loader's tables, where they are not there yet."""
    _widen_files(connection)
    connection.execute(_TABLES)
    connection.execute(_stream_tables())
    _bring_up_to_date(connection)


def _widen_files(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes raw.files of an earlier release anew: its check knew no results that are set aside,
    and DuckDB cannot change a check."""
    # Not by duckdb_columns(), which looks at all columns of all marts before it leaves any out.
    found = connection.execute(
        "select contains(sql, 'set_aside') from duckdb_tables() "
        "where database_name = current_database() and schema_name = 'raw' and table_name = 'files'"
    ).fetchone()
    if found != (False,):
        return
    with transaction(connection):
        connection.execute("create or replace temp table kept_files as from raw.files")
        connection.execute("drop table raw.files")
        connection.execute(_TABLES)
        connection.execute("insert into raw.files by name from kept_files")
        connection.execute("drop table kept_files")


@contextmanager
def writer_lock(settings: Settings, *, holder: str) -> Iterator[str]:
    """Holds the one right to write the warehouse; waits, and says for whom, while another has it.

    The operating system gives the right back when a process ends, however it ends. Yields who held
    it last and was killed, empty if nobody was.
    """
    path = _lock_path(settings.home.absolute())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.remark(
                f"Another run is writing the warehouse ({_holder(path)}); waiting for it to end."
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        killed = file.read().strip()
        file.truncate(0)
        file.write(f"{holder}, process {os.getpid()}")
        file.flush()
        try:
            yield killed
        finally:
            file.truncate(0)


def _lock_path(home: Path) -> Path:
    return home / "warehouse.lock"


def _holder(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() or "its process has not said who it is"
