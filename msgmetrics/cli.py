"""The command line: `msgmetrics`. Each command is a few lines over the module that does the work.

Answers go to standard output, all that is meant for eyes to standard error. An error that a user
can cause is one sentence and exit code 2.
"""

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from msgmetrics.console import print_json, progress_bars, say, show_table
from msgmetrics.errors import UserError
from msgmetrics.settings import settings

# Modules that take seconds to import (Dagster, dbt, FastAPI) are imported by the commands that
# need them.
app = typer.Typer(
    help="A self-hosted warehouse of messaging metrics.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="API keys of the endpoint.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Records and files that were refused.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(quarantine_app, name="quarantine")

_INTERRUPTED = 130
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def main() -> None:
    """The entry point: runs a command, and turns a UserError into one sentence and exit code 2."""
    try:
        app()
    except UserError as error:
        say(f"msgmetrics: {error}")
        sys.exit(2)
    except OSError as error:
        say(f"msgmetrics: {_what_the_system_refused(error)}")
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            say("msgmetrics: interrupted; what was finished is kept, the next run goes on from it.")
        raise


def _what_the_system_refused(error: OSError) -> str:
    place = f" {error.filename}" if error.filename else ""
    home = settings().home.absolute()
    return (
        f"{error.strerror or error}{place}: see that MSGMETRICS_HOME ({home}) "
        "is a folder that can be written, on a disk with room."
    )


def _moment(text: str, option: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(
            f"{option} {text!r} is not a moment: give one with an offset, as 2026-05-05T10:00:00Z."
        ) from None


# --- data in --------------------------------------------------------------------------------


@app.command()
def demo(
    messages: Annotated[int, typer.Option(help="How many messages.")] = 1_000_000,
    days: Annotated[int, typer.Option(help="Over how many days before the end.")] = 30,
    seed: Annotated[int, typer.Option(help="Another seed, other data.")] = 1,
    end: Annotated[
        str | None, typer.Option(help="End of the period, ISO 8601 (default: this hour's start).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write realistic landing files, the same for the same arguments."""
    from dataclasses import asdict

    summary = write_demo(messages, days, seed, end)
    if as_json:
        print_json(asdict(summary))


def write_demo(messages: int, days: int, seed: int, end: str | None):
    """Fills an empty landing zone; raises UserError where it is not empty or arguments are off."""
    from msgmetrics.demo import generate

    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    until = _moment(end, "--end") if end else now
    landing = settings().landing_path
    if messages < 1 or days < 1:
        raise UserError("--messages and --days have to be at least 1.")
    try:
        with progress_bars() as tell:
            summary = generate(
                landing,
                messages=messages,
                days=days,
                seed=seed,
                end=until,
                progress=lambda done, total: tell("writing demo messages", done, total),
            )
    except FileExistsError:
        raise UserError(
            f"The landing zone {landing} holds files already: demo data goes into an empty one; "
            "set MSGMETRICS_LANDING to another folder."
        ) from None
    except (ValueError, OverflowError) as error:
        raise UserError(f"These arguments make no demo: {error}.") from None
    say(
        f"Wrote {summary.messages:,} messages and {summary.events:,} events in "
        f"{summary.files:,} files ({summary.bytes / 1e6:,.0f} MB) to {landing}."
    )
    return summary


@app.command()
def run(
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", help="Data counts as complete up to here, ISO 8601 (default: now)."
        ),
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Build every table from the raw records.")
    ] = False,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Hash every landing file, changed dates or not.")
    ] = False,
    every_row: Annotated[
        bool, typer.Option("--every-row", help="Hold every row of every mart against the messages.")
    ] = False,
    republish: Annotated[
        bool, typer.Option("--republish", help="Make the published file anew from the warehouse.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show Dagster's and dbt's log.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """One pass: load what is new, build, check, publish."""
    summary = one_pass(
        as_of,
        full_refresh=full_refresh,
        rehash=rehash,
        every_row=every_row,
        republish=republish,
        verbose=verbose,
    )
    if as_json:
        print_json(summary)


@app.command()
def backfill(
    since: Annotated[str, typer.Option("--from", help="First day of sending (UTC).")],
    until: Annotated[str, typer.Option("--to", help="Last day of sending, included.")],
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show Dagster's and dbt's log.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute these days of sending from the raw records, check, publish."""
    from orchestration.partitions import parse_days

    summary = one_pass(days=parse_days(settings(), since, until), verbose=verbose)
    if as_json:
        print_json(summary)


@app.command()
def maintain(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Dagster's log.")] = False,
    as_json: AsJson = False,
) -> None:
    """Nightly maintenance, now: order and room of the files, and what is kept."""
    from msgmetrics.running import quiet_dbt
    from orchestration.passes import run_maintenance
    from orchestration.progress import listening

    with progress_bars() as tell, listening(tell, say), quiet_dbt(verbose):
        done = run_maintenance(settings(), verbose=verbose)
    if as_json:
        print_json(done)
    else:
        show_table("Maintained", ["what", "value"], list(done.items()))


def one_pass(
    as_of: str | None = None,
    *,
    full_refresh: bool = False,
    rehash: bool = False,
    every_row: bool = False,
    republish: bool = False,
    days: tuple[date, date] | None = None,
    verbose: bool = False,
) -> dict:
    """Runs a pass, shows its summary, and returns it."""
    from msgmetrics.running import quiet_dbt, summary_of
    from orchestration.passes import run_pass
    from orchestration.progress import listening

    now = settings()
    with progress_bars() as tell, listening(tell, say), quiet_dbt(verbose):
        result = run_pass(
            now,
            as_of=as_of,
            full_refresh=full_refresh,
            rehash=rehash,
            every_row=every_row,
            republish=republish,
            days=days,
            verbose=verbose,
        )
    return summary_of(now, result)


@app.command()
def status(as_json: AsJson = False) -> None:
    """The last snapshot, how far it reaches, what was loaded and refused, and disk used."""
    from msgmetrics.running import status_of

    state = status_of(settings())
    if as_json:
        print_json(state)
        return
    show_table("msgmetrics", ["what", "value"], list(state.items()))
    if state["snapshot"] is None:
        say(f"Nothing is published in {state['home']} yet: run `msgmetrics run`.")


@app.command()
def changes(
    since: Annotated[
        str | None, typer.Option("--from", help="A snapshot's id (default: the one before).")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="A later snapshot's id (default: the current one).")
    ] = None,
    mart: Annotated[str, typer.Option(help="The mart.")] = "hourly_by_channel",
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many rows.", min=1)] = 1000,
    as_json: AsJson = False,
) -> None:
    """What changed in a mart between two snapshots, measure by measure."""
    from msgmetrics.changes import changes_between

    found = changes_between(
        settings(), since=since, upto=until, mart=mart, account=account, limit=limit
    )
    if as_json:
        print_json(found)
        return
    rows = found["rows"]
    if not rows:
        say(
            f"Nothing changed in {mart} from {found['from']} to {found['to']}"
            + ("" if since else "; --from takes an earlier snapshot")
            + "."
        )
        return
    title = f"{mart}, {found['from']} to {found['to']}" + (
        f", the first {limit:,}" if len(rows) == limit else ""
    )
    show_table(title, list(rows[0]), [tuple(row.values()) for row in rows])


@app.command()
def export(
    to: Annotated[Path, typer.Option(help="A folder of its own.")],
    as_json: AsJson = False,
) -> None:
    """Write the marts as Parquet by day: only the days that changed since the last export."""
    from msgmetrics.exporting import export as write

    with progress_bars() as tell:
        done = write(
            settings(), to, progress=lambda done, total: tell("writing tables", done, total)
        )
    if as_json:
        print_json(done)
        return
    days = "every day" if done["days"] is None else f"{done['days']:,} changed days"
    say(f"Wrote {days} of snapshot {done['snapshot']}, {done['files']:,} files, to {to}.")


@app.command()
def query(
    metrics: Annotated[list[str], typer.Option(help="Metrics, repeated or with commas.")],
    since: Annotated[
        str, typer.Option("--from", help="Start of sending, inclusive: ISO 8601 or a day (UTC).")
    ],
    until: Annotated[
        str | None,
        typer.Option("--to", help="End of sending, exclusive (default: the last complete hour)."),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Dimensions, repeated or with commas.")
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="name=value,value by a name of filterBy; durations name=FROM..TO; repeatable.",
        ),
    ] = None,
    account: Annotated[list[str] | None, typer.Option(help="Accounts (default: all).")] = None,
    subaccounts: Annotated[bool, typer.Option("--subaccounts", help="And those below.")] = False,
    components: Annotated[
        bool, typer.Option("--components", help="Numerator and denominator behind each rate.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    parquet: Annotated[Path | None, typer.Option(help="Write a Parquet file.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the table chosen and the SQL instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Any metrics by any dimensions under any filter, from the published snapshot."""
    from msgmetrics.querying import query as ask
    from msgmetrics.querying import question_body

    body = question_body(
        metrics,
        by or [],
        since,
        until,
        filters or [],
        account or [],
        subaccounts=subaccounts,
        components=components,
    )
    ask(settings(), body, explain=explain, csv=csv, parquet=parquet, as_json=as_json)


# --- serving --------------------------------------------------------------------------------

Host = Annotated[str, typer.Option(help="Address to listen on.")]


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that answer; default: MSGMETRICS_WORKERS.", min=1, max=64),
    ] = None,
) -> None:
    """Serve the read endpoint."""
    from endpoint.server import serve as serve_endpoint

    serve_endpoint(host, port, workers)


@app.command()
def dev(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the endpoint.")] = 8000,
    dagster_port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    checks_port: Annotated[int, typer.Option(help="Port of the checks' reports.")] = 3001,
) -> None:
    """Dagster UI and daemon, the endpoint and the checks' reports together, until Ctrl-C."""
    from msgmetrics.running import run_services

    run_services(settings(), host, port, dagster_port, checks_port)


@app.command()
def tour(
    messages: Annotated[int, typer.Option(help="Demo messages, if the landing zone is empty.")] = (
        1_000_000
    ),
    days: Annotated[int, typer.Option(help="Over how many days.")] = 30,
) -> None:
    """What `make run` does: demo data if there is none, a pass, one answer over HTTP."""
    from msgmetrics.running import has_landing_files, show_one_answer, what_next

    if has_landing_files(settings()):
        say(f"Taking the files that are in {settings().landing_path}.")
    else:
        write_demo(messages, days, 1, None)
    one_pass()
    what_next(settings(), show_one_answer(settings()))


# --- keys -----------------------------------------------------------------------------------


@keys_app.command("create")
def create_key(
    account: Annotated[str, typer.Option(help="The account that the key belongs to.")],
    scope: Annotated[list[str], typer.Option(help="metrics:read or metrics:manage; repeatable.")],
    as_json: AsJson = False,
) -> None:
    """Make a key for a known account; it is printed once, alone, on standard output."""
    from msgmetrics.keys import KeyStore
    from msgmetrics.running import known_accounts

    accounts = known_accounts(settings())
    key = KeyStore.of(settings()).create(account, scope, accounts.__contains__)
    if as_json:
        print_json({"key": key, "account": account, "scopes": scope})
    else:
        print(key)
    say("Keep the key: it is not shown again, and only a hash of it is stored.")


@keys_app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """All keys, by label."""
    from dataclasses import asdict

    from msgmetrics.keys import KeyStore

    keys = [asdict(key) for key in KeyStore.of(settings()).list()]
    if as_json:
        print_json({"keys": keys})
        return
    columns = list(keys[0]) if keys else ["label", "account", "scopes"]
    shown = [
        [", ".join(v) if isinstance(v, list | tuple) else v for v in key.values()] for key in keys
    ]
    show_table("API keys", columns, shown)


@keys_app.command("revoke")
def revoke_key(
    label: Annotated[str, typer.Argument(help="The key's label, or its id.")],
    as_json: AsJson = False,
) -> None:
    """Withdraw a key; it stops working at the next request."""
    from dataclasses import asdict

    from msgmetrics.keys import KeyStore

    key = KeyStore.of(settings()).revoke(label)
    if as_json:
        print_json(asdict(key))
    say(f"The key {key.label} no longer works.")


# --- quarantine -----------------------------------------------------------------------------


Limit = Annotated[
    int, typer.Option(help="At most so many lines, the latest first.", min=1, max=1_000_000)
]


@quarantine_app.command("list")
def list_quarantine(
    stream: Annotated[str | None, typer.Option(help="Only this stream.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Closed entries, too.")] = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """What was refused, and why: one line for a file and a reason; with --json every entry."""
    from msgmetrics.running import quarantine

    total, entries = quarantine(
        settings(), stream=stream, closed=every, limit=limit, grouped=not as_json
    )
    if as_json:
        print_json({"total": total, "entries": entries})
        return
    columns = {
        "id": "quarantine_id",
        "file": "path",
        "records": "records",
        "first row": "row_number",
        "reason": "reason",
    }
    if every:
        columns["closed"] = "closed_because"
    told = sum(entry["records"] for entry in entries)
    show_table(
        f"{total:,} in quarantine" + (f", the latest {told:,}" if total > told else ""),
        list(columns),
        [tuple(entry.get(column) for column in columns.values()) for entry in entries],
    )


@quarantine_app.command("show")
def show_quarantine(
    quarantine_id: Annotated[int, typer.Argument(help="The entry's id, as `list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """One refused record with its raw text, and when and why it was closed."""
    from msgmetrics.running import quarantine

    _, entries = quarantine(settings(), quarantine_id=quarantine_id, closed=True)
    if not entries:
        raise UserError(
            f"There is no quarantine entry {quarantine_id}: `msgmetrics quarantine list` shows ids."
        )
    if as_json:
        print_json(entries[0])
        return
    show_table(f"Quarantine entry {quarantine_id}", ["what", "value"], list(entries[0].items()))


@quarantine_app.command("requeue")
def requeue_quarantine(
    ids: Annotated[
        list[int] | None, typer.Option("--id", help="Only this entry; repeatable.")
    ] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Judge refused records by today's rules, and take in those that have become valid."""
    from msgmetrics.running import requeue
    from orchestration.progress import listening

    with listening(lambda *_: None, say):
        done = requeue(settings(), ids or [], shown=limit)
    if as_json:
        print_json(done)
        return
    show_table(
        f"{done['requeued']:,} taken in, {done['still_refused']:,} still refused"
        + (f", the latest {limit:,}" if done["still_refused"] > limit else ""),
        ["id", "file", "row", "reason"],
        [tuple(entry.values()) for entry in done["refused"]],
    )
    if done["requeued"]:
        say("The next `msgmetrics run` carries what was taken in to the marts.")


if __name__ == "__main__":
    main()
