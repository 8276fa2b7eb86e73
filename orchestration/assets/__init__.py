"""The assets, a module a layer: raw (loading), warehouse (dbt), published (the file for readers).

Checks that stand by themselves live in `orchestration/checks`.
"""
