"""The read endpoint: HTTP answers from the published snapshot, and from nothing else.

    server.py          runs the service under uvicorn
    app.py             assembles it: routes, middleware, the state that routes share
    request_log.py     request ids, the JSON log lines, the last resort against a stack trace
    service_metrics.py metrics of the service itself
    errors.py          every error that an answer can be, and its shape on the wire
    auth.py            who asks: API key, rate limit, scope
    rate_limit.py      requests a second of one key, over all worker processes
    turns.py           how many requests of an account are worked on at once
    thread_share.py    threads of DuckDB for a question that is alone in its worker, or is not
    time_limits.py     how long a question may be worked on
    snapshots.py       opens published files read-only, follows publication, account rights
    cursors.py         signed page cursors
    parameters.py      reads query strings and timestamps, collects violations
    rendering.py       JSON with exact decimals, timestamps as text
    windows.py         arithmetic of fixed time buckets
    planning/          any question: which table answers it, and the SQL
    bodies.py          reads request bodies as JSON, within a limit
    timestamps.py      timestamps of requests
    conditional.py     ETags
    asking.py          a question put to a snapshot for an account
    rows.py            rows of an answer as JSON, CSV, Parquet or Arrow
    fixed_buckets.py   GET /v1/metrics/inbound and /v1/metrics/messages
    metrics_query.py   POST /v1/metrics/query
    metrics_catalog.py GET /v1/metrics/catalog
    aggregate_queries.py  POST /metrics/1/query-aggregate-data, and what becomes of requests
    asynchronous/      answers those later: queue, callbacks, results
    documentation.py   what /openapi.json says of parameters and answers

No formula of a metric lives here, and nothing here imports the orchestration: what a number means
is decided before it is published.
"""
