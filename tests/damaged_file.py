"""Damages one table of a published file, as a disk may, and leaves all others whole."""

from pathlib import Path

import duckdb

# What DuckDB writes before the first block.
_HEADERS = 3 * 4096
_BLOCK_BYTES = 256 * 1024


def damage(file: Path, table: str) -> None:
    """Overwrites a piece of a block that holds rows of this table and of no other."""
    with duckdb.connect(str(file), read_only=True) as connection:
        tables = connection.execute("select table_name from duckdb_tables()").fetchall()
        blocks = {name: _blocks(connection, name) for (name,) in tables}
    others = set().union(*(found for name, found in blocks.items() if name != table))
    block = min(blocks[table] - others)
    with file.open("r+b") as opened:
        opened.seek(_HEADERS + block * _BLOCK_BYTES + 64)
        opened.write(b"damaged" * 20)


def _blocks(connection: duckdb.DuckDBPyConnection, table: str) -> set[int]:
    rows = connection.execute(
        f"select block_id from pragma_storage_info('{table}') where block_id >= 0"
    ).fetchall()
    return {block for (block,) in rows}
