"""DuckDB as an ordinary analyst uses it: `naive.sql`, then one GROUP BY for each of 46 marts."""

from pathlib import Path

import duckdb

from benchmarks.comparisons.rules import bucket_sql, seed_path
from benchmarks.records import files
from msgmetrics.published_tables import VIEWS, Mart, marts

_MACROS = f"""
create macro time_bucket(seconds) as {bucket_sql("seconds")};
create macro seconds_from(earlier, later) as
    case when later < earlier then 0 else (epoch_us(later) - epoch_us(earlier)) // 1000000 end;
create macro domain_of(address) as lower(nullif(regexp_extract(
    case
        when regexp_matches(address, '<[^>]*>') then regexp_extract(address, '(?s)^.*<([^>]*)>', 1)
        else address
    end, '@([^@]*)$', 1), ''));
"""


def compute(landing: Path, results: Path) -> None:
    """Leaves the outcome and all marts in a DuckDB file."""
    database = results / "naive.duckdb"
    database.unlink(missing_ok=True)
    with duckdb.connect(str(database)) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")
        for stream in ("messages", "events"):
            times = ("sent_at", "updated_at") if stream == "messages" else ("occurred_at",)
            typed = ", ".join(f"{time}::timestamp as {time}" for time in times)
            connection.execute(
                f"create view arrived_{stream} as "
                f"select * replace ({typed}) from {files(landing, stream)}"
            )
        for table in ("event_types", "error_codes", "drop_reasons"):
            connection.execute(f"create table {table} as from read_csv('{seed_path(table)}')")
        connection.execute(_MACROS)
        connection.execute(Path(__file__).with_name("naive.sql").read_text("utf-8"))
        for name, mart in _all_marts().items():
            connection.execute(_group_by(name, mart))


def export(results: Path) -> None:
    """Every table as Parquet."""
    with duckdb.connect(str(results / "naive.duckdb"), read_only=True) as connection:
        for table in ("outcomes", *_all_marts()):
            name = "messages" if table == "outcomes" else table
            connection.execute(f"copy {table} to '{results / name}.parquet' (format parquet)")


def _all_marts() -> dict[str, Mart]:
    """The 46 marts; those by account are grouped for themselves, too."""
    known = {name: mart for name, mart in marts().items() if name != "minutely"}
    return known | {name: known[name.replace("_by_account", "_by_channel")] for name in VIEWS}


def _group_by(name: str, mart: Mart) -> str:
    facts = "url_clicks" if mart.of_urls else "outcomes"
    return (
        f"create table {name} as "
        f"select date_trunc('{mart.unit}', sent_at) as period_start, {', '.join(mart.keys)}, "
        f"{mart.sums()} from {facts} group by all"
    )
