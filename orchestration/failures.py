"""How a step of a run fails: whether trying again may help, and what it left behind.

No step lives here. What a failed run says at the command line lives in `passes.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster_dbt import DbtCliInvocation

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration.restatement import unpublished
from orchestration.warehouse import warehouse

INTERRUPTIONS = (KeyboardInterrupt, DagsterExecutionInterruptedError)
# Tag of a run that somebody started by hand and waits for: it fails at once.
BY_HAND = "msgmetrics/by_hand"
# Ten seconds, thirty, seventy: a full disk or a file that somebody else has open may pass.
TRIED_AGAIN = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL)


@contextmanager
def explained(context: dg.AssetExecutionContext, settings: Settings) -> Iterator[None]:
    """Makes of an exception a failure that says what is loaded but not published yet.

    What a user has to mend is not tried again, nor a failure that says so itself, nor any in a run
    started by hand.
    """
    try:
        yield
    except dg.Failure:
        _tell_what_is_left(context, settings)
        raise
    except UserError as error:
        left = _tell_what_is_left(context, settings)
        raise dg.Failure(str(error), metadata=left, allow_retries=False) from error
    except INTERRUPTIONS as error:
        # Ctrl-C, or the UI's button: whoever ended the run does not want the step tried again.
        left = _tell_what_is_left(context, settings)
        raise dg.Failure("Interrupted.", metadata=left, allow_retries=False) from error
    except Exception as error:
        left = _tell_what_is_left(context, settings)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        may_pass = not context.has_tag(BY_HAND)
        raise dg.Failure(lines[0], metadata=left, allow_retries=may_pass) from error


def _tell_what_is_left(
    context: dg.AssetExecutionContext, settings: Settings
) -> dict[str, dg.MetadataValue]:
    """Logs, and returns as metadata, which batches wait for the next run."""
    try:
        with warehouse(settings, read_only=True) as connection:
            batches = unpublished(connection, settings)
    except Exception as error:  # the failure is told in any case
        context.log.warning(f"What is left could not be found out: {error}")
        return {}
    if batches:
        context.log.warning(
            f"Not published yet: {'; '.join(batches)}. Nothing is lost: the next run goes on here."
        )
    return {"not_published_yet": dg.MetadataValue.json(batches)}


# --- checks of a build -------------------------------------------------------------------


def told_of_broken(
    context: dg.AssetExecutionContext,
    invocation: DbtCliInvocation,
    not_made: list[dg.AssetCheckResult],
) -> Iterator[dg.AssetCheckResult]:
    """The checks whose statement broke, with the cause, as the last gate tells of its own."""
    if not not_made:
        return
    results = invocation.get_artifact("run_results.json")["results"]
    messages = {result["unique_id"]: result["message"] or "" for result in results}
    for check in not_made:
        # dbt's own first line names the node; behind a colon DuckDB may quote what a record holds.
        lines = messages.get(str(check.metadata["unique_id"].value), "").splitlines()[1:]
        cause = next((line.strip() for line in lines if line.strip()), "it gives no reason")
        cause = cause.partition(":")[0]
        if "Out of Memory" in cause:
            cause += "; MSGMETRICS_MEMORY gives it more"
        if dg.AssetCheckKey(check.asset_key, check.check_name) in context.selected_asset_check_keys:
            yield check._replace(
                description=f"The check itself is broken, which says nothing of the data: {cause}",
                metadata={**check.metadata, "broken_check": dg.MetadataValue.text(cause)},
            )


def failure_of_checks(
    context: dg.AssetExecutionContext, broken: list, not_made: list[dg.AssetCheckResult]
) -> dg.Failure | None:
    """Why a build ended badly in which checks did; None where it was none of them."""
    if broken:
        return dg.Failure(f"Checks failed: {', '.join(map(str, broken))}.", allow_retries=False)
    if not_made:
        names = ", ".join(str(check.check_name) for check in not_made)
        return dg.Failure(
            f"Checks could not be made, which says nothing of the data: {names}.",
            allow_retries=not context.has_tag(BY_HAND),
        )
    return None
