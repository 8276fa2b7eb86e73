"""When and in what order: Dagster's assets, jobs and schedules, loading and publishing.

    landing --(loading)--> raw --(dbt)--> staging, facts, marts --(checks)--> published

What a number means lives in `dbt_project/`; no metric is computed here. The endpoint never
imports this package, and importing it has no side effects.
"""
