"""The last gate as asset checks: may this be served? Those of severity ERROR block publication.

What is looked at stands in `frames.py`, how it is judged in `expectations.py`. In a run the rows
are looked at that are written to the next published file, before anybody is shown it, at night
every row.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from msgmetrics.settings import Settings
from orchestration import progress
from orchestration.asset_keys import JUDGED
from orchestration.assets.published import GATE, marts
from orchestration.batches import last_as_of
from orchestration.failures import TRIED_AGAIN, explained
from orchestration.published_rows import published_snapshot
from orchestration.publishing import drop_prepared, prepare
from orchestration.resources import Writer
from orchestration.restatement import (
    judges_every_row,
    owes_published_anew,
    unfinished,
    unpublished,
)
from orchestration.warehouse import warehouse

if TYPE_CHECKING:
    import pandas as pd

    from orchestration.checks.expectations import Judge, Verdict
    from orchestration.checks.frames import Scope, Seen

# Reports of so many runs are kept.
_REPORTS_KEPT = 20
_MOST_WAITING = 0.05
_MOST_REFUSED = 0.01
_LEAST_OF_USUAL, _MOST_OF_USUAL = 0.2, 5.0
_LEAST_RECORDS = 1000
# Below so many messages an hour chance alone explains any ratio.
_LEAST_VOLUME = 50
_MOST_HOURS_AHEAD = 24


@dataclass(frozen=True)
class Look:
    """What a check may look at.

    written: what was seen of the rows that were written to the file that is to be published;
    without it, every row of the warehouse is looked at.
    """

    connection: duckdb.DuckDBPyConnection
    settings: Settings
    scope: "Scope"
    now: datetime
    as_of: datetime
    written: "Seen | None" = None

    @cached_property
    def seen(self) -> "Seen":
        """What there is to see of the rows of the marts."""
        from orchestration.checks.frames import every_row

        return self.written or every_row(self.connection, self.now)


@dataclass(frozen=True)
class Check:
    """A check by name. blocks: whether it is an error, which stops publication, or a warning."""

    name: str
    blocks: bool
    description: str
    judge: Callable[["Judge", str, Look], "Verdict"]


def _metrics_are_possible(judge: "Judge", name: str, look: Look) -> "Verdict":
    from orchestration.checks import frames
    from orchestration.checks.expectations import Verdict, between, is_true

    bounds = frames.bounds_of_metrics(look.connection, look.seen)
    verdict = judge.judge(
        name,
        bounds,
        {
            "every metric is in every mart that should have it": is_true("is_present"),
            "no metric is negative": between("lowest", lowest=0),
            "no metric is NaN or infinite": between("not_finite", highest=0),
            "rates that cannot exceed 1 do not": between("highest", highest=1, only="is_bounded"),
        },
    )
    if verdict.passed or verdict.broken:
        return verdict
    rows = frames.impossible_rows(list(verdict.rows), look.seen)
    return Verdict(verdict.broken_rules, tuple(rows))


def _marts_agree(judge: "Judge", name: str, look: Look) -> "Verdict":
    from orchestration.checks import frames
    from orchestration.checks.expectations import Verdict, between

    compared, differing = frames.agreement(look.connection, look.scope)
    verdict = judge.judge(
        name,
        compared,
        {"every mart sums to the messages, or clicks": between("differing", highest=0)},
    )
    return Verdict(verdict.broken_rules, tuple(differing), verdict.broken)


def _hours_are_not_ahead(judge: "Judge", name: str, look: Look) -> "Verdict":
    from orchestration.checks import frames
    from orchestration.checks.expectations import between

    return judge.judge(
        name,
        frames.hours_ahead(look.seen, look.now),
        {"no hour is more than 24 hours ahead": between("hours_ahead", highest=_MOST_HOURS_AHEAD)},
    )


def _volumes_are_usual(judge: "Judge", name: str, look: Look) -> "Verdict":
    from orchestration.checks import frames
    from orchestration.checks.expectations import between

    volumes = frames.volumes(look.connection, look.as_of)
    volumes["is_enough"] = volumes[["messages", "usual"]].max(axis=1) >= _LEAST_VOLUME
    return judge.judge(
        name,
        volumes,
        {
            "an hour has about the messages of that hour in earlier weeks": between(
                "times_usual", _LEAST_OF_USUAL, _MOST_OF_USUAL, only="is_enough"
            )
        },
    )


def _data_is_fresh(judge: "Judge", name: str, look: Look) -> "Verdict":
    from orchestration.checks import frames
    from orchestration.checks.expectations import between

    newest = frames.freshness(look.connection, look.as_of)
    # No message at all is as far behind as can be.
    newest["seconds_behind"] = newest["seconds_behind"].astype("float64").fillna(float("inf"))
    return judge.judge(
        name,
        newest,
        {
            "a message is not older than MSGMETRICS_STALE_AFTER": between(
                "seconds_behind", highest=look.settings.stale_after
            )
        },
    )


def _enough(arrivals: "pd.DataFrame") -> "pd.DataFrame":
    """The frame with whether a stream has so many records that a share of them says something."""
    return arrivals.assign(is_enough=arrivals["loaded"] + arrivals["refused"] >= _LEAST_RECORDS)


def _few_events_wait(judge: "Judge", name: str, look: Look) -> "Verdict":
    from orchestration.checks import frames
    from orchestration.checks.expectations import between

    return judge.judge(
        name,
        _enough(frames.arrivals(look.connection)),
        {
            "few events wait for their message": between(
                "share_waiting", highest=_MOST_WAITING, only="is_enough"
            )
        },
    )


def _few_records_are_refused(judge: "Judge", name: str, look: Look) -> "Verdict":
    from orchestration.checks import frames
    from orchestration.checks.expectations import between

    return judge.judge(
        name,
        _enough(frames.arrivals(look.connection)),
        {
            "few records are in quarantine": between(
                "share_refused", highest=_MOST_REFUSED, only="is_enough"
            )
        },
    )


CHECKS = (
    Check(
        GATE,
        True,
        "Every metric is in every mart that should have it, none is negative, NaN or infinite, and "
        "rates that cannot exceed 1 do not.",
        _metrics_are_possible,
    ),
    Check(
        "marts_agree_with_the_messages",
        True,
        "By period, account and channel every mart sums to the messages, or clicks: so all marts "
        "have the same totals, and days are the sums of their hours.",
        _marts_agree,
    ),
    Check(
        "hours_are_not_ahead",
        True,
        "No hour of sending lies more than 24 hours ahead of the clock.",
        _hours_are_not_ahead,
    ),
    Check(
        "volumes_are_usual",
        False,
        "Each channel's last 24 complete hours have a fifth to five times the messages of the same "
        "hours of earlier weeks.",
        _volumes_are_usual,
    ),
    Check(
        "data_is_fresh",
        False,
        "The newest message is not older than MSGMETRICS_STALE_AFTER.",
        _data_is_fresh,
    ),
    Check(
        "few_events_wait",
        False,
        "At most one event in twenty, of a thousand at least, waits for a message not known.",
        _few_events_wait,
    ),
    Check(
        "few_records_are_refused",
        False,
        "At most one record in a hundred of a stream, of a thousand at least, is in quarantine.",
        _few_records_are_refused,
    ),
)


def evaluate(look: Look, report: Path | None = None) -> Iterator[tuple[Check, "Verdict"]]:
    """Every check with what it found; the pages of all of it are written at the end."""
    from orchestration.checks.expectations import Judge, Verdict

    judge = Judge()
    for check in CHECKS:
        try:
            verdict = check.judge(judge, check.name, look)
        except Exception as error:
            verdict = Verdict(broken=f"{type(error).__name__}: {str(error).splitlines()[0]}")
        yield check, verdict
    if report is not None:
        judge.write_report(report)


def look_at_what_is_new(
    connection: duckdb.DuckDBPyConnection, settings: Settings, *, every_row: bool = False
) -> Look:
    """Has the next published file brought forward, and looks at what is written to it; at all that
    there is where there is no such file, or every row is asked for."""
    from orchestration.checks.frames import Scope, Seen

    # Whatever this gate looks at: what an earlier one had prepared may be what that one refused.
    drop_prepared(settings)
    last, now = published_snapshot(connection, settings), datetime.now(UTC)
    written = None
    if last is not None and not every_row and not owes_published_anew(connection):
        written = Seen(connection, now)
        if not _is_prepared(connection, settings, written):
            written = None
    scope = Scope(None if last is None or every_row else last["batch_id"])
    return Look(connection, settings, scope, now, last_as_of(connection) or now, written)


def _is_prepared(
    connection: duckdb.DuckDBPyConnection, settings: Settings, written: "Seen"
) -> bool:
    """Has the next file brought forward; whether that could be done."""
    try:
        return prepare(
            connection,
            settings,
            seen=written.look,
            progress=lambda done, total: progress.tell("preparing tables", done, total),
        )
    except duckdb.InterruptException:
        raise
    except (duckdb.Error, KeyError) as error:
        # What is wrong with the warehouse is for the checks to tell, each of its part.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        progress.remark(f"No file could be prepared ({reason}): every row is judged.")
        drop_prepared(settings)
        return False


@dg.multi_asset_check(
    name="gate",
    specs=[
        dg.AssetCheckSpec(
            check.name,
            asset=JUDGED,
            additional_deps=[key for key in marts() if key != JUDGED],
            blocking=check.blocks,
            description=f"{'Error' if check.blocks else 'Warning'}: {check.description}",
        )
        for check in CHECKS
    ],
    retry_policy=TRIED_AGAIN,
)
def gate(context: dg.AssetCheckExecutionContext, writer: Writer) -> Iterator[dg.AssetCheckResult]:
    """All checks of the last gate in one step, as most of their time is Great Expectations'."""
    settings = writer.settings
    with explained(context.op_execution_context, settings), warehouse(settings) as connection:
        if not unfinished(connection, settings):
            drop_prepared(settings)
            for check in CHECKS:
                yield _nothing_to_judge(check)
            return
        look = look_at_what_is_new(connection, settings, every_row=judges_every_row(connection))
        left = unpublished(connection, settings)
        run_id = context.run.run_id
        found = list(evaluate(look, settings.checks_dir / run_id))
        _drop_old_reports(settings)
    for check, verdict in found:
        yield _result(check, verdict, left, settings, run_id, every_row=look.written is None)


def _nothing_to_judge(check: Check) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=True,
        severity=_severity(check),
        description="Nothing was restated since the last snapshot, which passed.",
        metadata={"looked_at": "nothing"},
    )


def _severity(check: Check) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if check.blocks else dg.AssetCheckSeverity.WARN


def _result(
    check: Check,
    verdict: "Verdict",
    left: list[str],
    settings: Settings,
    run_id: str,
    *,
    every_row: bool,
) -> dg.AssetCheckResult:
    said = "; ".join(verdict.broken_rules)
    metadata: dict[str, Any] = {
        "looked_at": "every row" if every_row else "the rows that are new to readers",
        "broken_rules": dg.MetadataValue.json(list(verdict.broken_rules)),
        "rows": dg.MetadataValue.json([_plain(row) for row in verdict.rows]),
        "report": dg.MetadataValue.path(str(settings.checks_dir / run_id / "index.html")),
        "not_published_yet": dg.MetadataValue.json([] if verdict.passed else left),
    }
    if settings.checks_url:
        metadata["report_page"] = dg.MetadataValue.url(f"{settings.checks_url}/{run_id}/index.html")
    if verdict.broken:
        said = f"The check itself is broken, which says nothing of the data: {verdict.broken}"
        metadata["broken_check"] = verdict.broken
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=verdict.passed,
        severity=_severity(check),
        description=f"Does not hold: {said}." if verdict.broken_rules else said or None,
        metadata=metadata,
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON has it."""
    kept = (int, float, str, bool, type(None))
    return {
        name: value if isinstance(value, kept) and value == value else str(value)
        for name, value in row.items()
    }


def _drop_old_reports(settings: Settings) -> None:
    reports = sorted(settings.checks_dir.glob("*/"), key=lambda path: path.stat().st_mtime)
    for folder in reports[:-_REPORTS_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
