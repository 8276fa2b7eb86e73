"""The last gate as asset checks: they block publication.

What is expected stands in `expectations.py`.
"""

import dagster as dg

from msgmetrics.catalogue import catalogue
from orchestration.asset_keys import JUDGED
from orchestration.assets.published import GATE, marts
from orchestration.resources import Writer
from orchestration.restatement import unfinished, unpublished
from orchestration.warehouse import warehouse


@dg.asset_check(
    name=GATE,
    asset=JUDGED,
    additional_deps=[key for key in marts() if key != JUDGED],
    blocking=True,
    description=(
        "Error: every metric is in every mart, none is negative, NaN or infinite, and rates that "
        "cannot exceed 1 do not."
    ),
)
def metrics_are_possible(writer: Writer) -> dg.AssetCheckResult:
    with warehouse(writer.settings) as connection:
        if not unfinished(connection, writer.settings):
            return dg.AssetCheckResult(
                passed=True,
                description="Nothing was restated since the last snapshot, which passed.",
                metadata={"compared": 0},
            )
        # Great Expectations and pandas take seconds to import.
        from orchestration.checks import expectations

        bounds = expectations.bounds_of_metrics(connection, catalogue())
        left = unpublished(connection, writer.settings)
    verdict = expectations.judge_metrics(bounds)
    return dg.AssetCheckResult(
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "broken_rules": dg.MetadataValue.json(list(verdict.broken_rules)),
            "rows": dg.MetadataValue.json([dict(row) for row in verdict.rows]),
            "compared": len(bounds),
            "not_published_yet": dg.MetadataValue.json([] if verdict.passed else left),
        },
    )
