"""Everything that Dagster loads, put together; nothing is defined here."""

import dagster as dg

from orchestration.assets import published, raw, warehouse
from orchestration.checks.published import metrics_are_possible
from orchestration.jobs import refresh
from orchestration.resources import Writer, dbt_resource
from orchestration.schedules import nightly_schedule, refresh_schedule

defs = dg.Definitions(
    assets=[raw.load, warehouse.build, published.snapshot],
    asset_checks=[metrics_are_possible],
    jobs=[refresh],
    schedules=[refresh_schedule, nightly_schedule],
    resources={"writer": Writer(), "dbt": dbt_resource()},
)
