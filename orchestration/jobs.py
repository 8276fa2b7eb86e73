"""Jobs: selections of assets, by effect. No asset is implemented here."""

import dagster as dg

# One process a run: the right to write the warehouse is held from the first step to the last.
refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description="One pass: load what is new, build and test the models, publish what passed.",
)
