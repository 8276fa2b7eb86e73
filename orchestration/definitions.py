"""Everything that Dagster loads, put together; nothing is defined here."""

import dagster as dg

from orchestration.assets import published, raw, warehouse
from orchestration.checks.published import gate
from orchestration.jobs import backfill, maintenance, refresh
from orchestration.resources import Writer, dbt_resource
from orchestration.schedules import maintenance_schedule, nightly_schedule, refresh_schedule
from orchestration.sensors import landing_sensor

defs = dg.Definitions(
    assets=[raw.load, warehouse.build, published.snapshot],
    asset_checks=[gate],
    jobs=[refresh, backfill, maintenance],
    schedules=[refresh_schedule, nightly_schedule, maintenance_schedule],
    sensors=[landing_sensor],
    resources={"writer": Writer(), "dbt": dbt_resource()},
    # The UI's own runs too: all steps of a run share the right to write.
    executor=dg.in_process_executor,
)
