"""What starts a run because something came; what starts by the clock stands in `schedules.py`."""

import dagster as dg

from msgmetrics.errors import UserError
from msgmetrics.settings import settings
from orchestration.arrivals import LANDING_STATE, landing_state
from orchestration.asset_keys import RAW
from orchestration.jobs import refresh
from orchestration.partitions import landing_day
from orchestration.runs import fail_dead_runs, run_under_way


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A pass soon after the landing zone has changed. Cursor: its state when last seen.",
)
def landing_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    here = settings()
    fail_dead_runs(context.instance, here)
    try:
        state = landing_state(here.landing_path)
    except UserError as error:
        return dg.SensorResult(skip_reason=str(error))
    if state == context.cursor:
        return dg.SensorResult(skip_reason="Nothing came.")
    if state == _state_when_loaded_last(context.instance):
        return dg.SensorResult(skip_reason="A run has looked at what came.", cursor=state)
    if run_id := run_under_way(context.instance):
        return dg.SensorResult(skip_reason=f"Run {run_id} is to end first.")
    return dg.SensorResult(run_requests=[dg.RunRequest(partition_key=landing_day())], cursor=state)


def _state_when_loaded_last(instance: dg.DagsterInstance) -> str | None:
    """The state of the landing zone at the start of the last load that ended well."""
    event = instance.get_latest_materialization_event(RAW["messages"])
    if event is None or event.asset_materialization is None:
        return None
    told = event.asset_materialization.metadata.get(LANDING_STATE)
    return str(told.value) if told is not None else None
