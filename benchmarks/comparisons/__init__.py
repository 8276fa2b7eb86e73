"""The same numbers as a user would make them without msgmetrics, from the same files.

Each module here is one way: `compute(landing, results)` reads the Parquet files of
`benchmarks.records.write_landing` and leaves its results in a folder, in the form that comes
naturally to it; `export(results)`, where there is one, then writes them as Parquet, so that they
can be compared. Each is meant as its library's friend would write it: whoever knows how to make one
faster is asked to.

naive       DuckDB: an ordinary analyst's SQL for all marts
pandas_way, polars_way, chdb_way
            the outcome of every message, and four hourly marts
rules       what all of them have to know: event types, error groups, time buckets, marts
ways        runs one of them in a process of its own
differences compares what it left with the warehouse, row by row
"""
