"""Names of the assets that other modules speak of; the assets themselves live in `assets/`."""

import dagster as dg

from orchestration.loading.records import folders

RAW = {name: dg.AssetKey(["raw", name]) for name in folders()}
# The one asset on which restated days are reported.
FACTS = dg.AssetKey(["facts", "fct_messages"])
# The mart that the last gate stands at, for all of them.
JUDGED = dg.AssetKey(["marts", "daily_by_channel"])
SNAPSHOT = dg.AssetKey(["published", "snapshot"])
