"""Jobs: selections of assets, by effect. No asset is implemented here."""

import dagster as dg

from orchestration.asset_keys import FACTS, JUDGED, RAW, SNAPSHOT
from orchestration.maintenance import maintain
from orchestration.partitions import PASS

# A run whose process was killed is started again as a whole; what it finished costs nothing then.
_TAGS = {"dagster/retry_strategy": "ALL_STEPS"}

# One process a run: the right to write the warehouse is held from the first step to the last.
refresh = dg.define_asset_job(
    PASS,
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    tags=_TAGS,
    description=(
        "One pass: load what is new, restate what it touches, check, publish what passed. "
        "Its partition is the day of landing, today."
    ),
)

# dbt builds all models in any case; each asset here is one more event in Dagster for each day.
backfill = dg.define_asset_job(
    "backfill",
    selection=dg.AssetSelection.assets(FACTS, JUDGED, SNAPSHOT)
    | (dg.AssetSelection.all_asset_checks() - dg.AssetSelection.checks_for_assets(*RAW.values())),
    executor_def=dg.in_process_executor,
    tags=_TAGS,
    description="Recompute days of sending from the raw records, check, and publish.",
)


@dg.job(
    executor_def=dg.in_process_executor,
    tags=_TAGS,
    description=(
        "Order and room of the published file and the warehouse; changes and records of runs past "
        "keeping are dropped. It changes no number."
    ),
)
def maintenance() -> None:
    maintain()
