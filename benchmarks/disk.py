"""How much room tables take in a DuckDB file, by what they are for."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import duckdb

# Schemas whose tables do not grow with the history.
_SMALL = ("reference", "restatement", "staging")
# Tables of the published file that do, besides its marts.
_LARGE = ("messages", "url_clicks", "minutely", "messages_changes", "url_clicks_changes")


def bytes_by_table(path: Path) -> dict[str, int]:
    """Bytes by `schema.table`, the largest first; an upper bound, as a block may be shared.

    What a block holds of other tables counts for each of them, and blocks of lists of rows that
    were deleted for none.
    """
    with duckdb.connect(str(path), read_only=True) as connection:
        (block,) = connection.execute("select block_size from pragma_database_size()").fetchone()
        tables = connection.execute(
            "select schema_name || '.' || table_name from duckdb_tables() "
            "where database_name = current_database() and not internal"
        ).fetchall()
        found = {name: block * _blocks(connection, name) for (name,) in tables}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _blocks(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    (blocks,) = connection.execute(
        """
        select count(distinct block) from (
            select unnest(list_prepend(block_id, additional_block_ids)) as block
            from pragma_storage_info(?)
        ) where block >= 0
        """,
        [table],
    ).fetchone()
    return blocks


def bytes_by_kind(path: Path) -> dict[str, int]:
    """The same, marts of a grain taken together, and the whole file last."""
    kinds: dict[str, int] = defaultdict(int)
    for table, size in bytes_by_table(path).items():
        kinds[_kind(table)] += size
    return {**kinds, "whole file": path.stat().st_size}


def _kind(table: str) -> str:
    schema, _, name = table.partition(".")
    for grain in ("hourly", "daily"):
        if name.startswith(f"{grain}_by_"):
            return f"{grain} marts"
    if schema in ("raw", "facts") and name not in ("messages", "events", "fct_messages"):
        return f"other of {schema}"
    if schema == "main":
        return name if name in _LARGE else "all else"
    return "all else" if schema in _SMALL else table


@dataclass(frozen=True)
class Room:
    """Bytes by kind, of so many messages: of the files that arrived, of the warehouse after a full
    refresh, and of the published file."""

    messages: int
    files: dict[str, int]
    warehouse: dict[str, int]
    published: dict[str, int]


def measure_room(messages: int, landing: Path, warehouse: Path, published: Path) -> Room:
    """Looks at the files as they are; what is not published takes none."""
    files = {
        f"Parquet of {stream.name}": sum(path.stat().st_size for path in stream.rglob("*.parquet"))
        for stream in sorted(landing.iterdir())
    }
    return Room(
        messages,
        files,
        bytes_by_kind(warehouse),
        bytes_by_kind(published) if published.exists() else {},
    )
