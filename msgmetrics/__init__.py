"""What the command line, the pipeline and the endpoint share.

Here live the settings, the catalogue's reader, API keys, the demo data and the command line. What
a number means lives in `dbt_project/`, when things run in `orchestration/`, and how a number is
asked for in `endpoint/`. Importing this package imports none of them.
"""
