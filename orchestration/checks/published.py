"""The last gate as asset checks: they block publication.

What is expected stands in `expectations.py`.
"""

import dagster as dg

from msgmetrics.catalogue import catalogue
from orchestration.assets.published import marts
from orchestration.checks.expectations import bounds_of_metrics, judge_metrics
from orchestration.resources import Writer
from orchestration.warehouse import warehouse

_GATE = dg.AssetKey(["marts", "daily_by_channel"])


@dg.asset_check(
    name="metrics_are_possible",
    asset=_GATE,
    additional_deps=[key for key in marts() if key != _GATE],
    blocking=True,
    description=(
        "Error: every metric is in every mart, none is negative, NaN or infinite, and rates that "
        "cannot exceed 1 do not."
    ),
)
def metrics_are_possible(writer: Writer) -> dg.AssetCheckResult:
    with warehouse(writer.settings) as connection:
        bounds = bounds_of_metrics(connection, catalogue())
    verdict = judge_metrics(bounds)
    return dg.AssetCheckResult(
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "broken_rules": dg.MetadataValue.json(list(verdict.broken_rules)),
            "rows": dg.MetadataValue.json([dict(row) for row in verdict.rows]),
            "compared": len(bounds),
        },
    )
