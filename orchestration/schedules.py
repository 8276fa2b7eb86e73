"""When runs start by themselves.

Nothing about lateness stands here: a record that comes late counts in the hour in which its message
was sent, however late it is, so a schedule only decides how soon it is seen.
"""

import dagster as dg

from orchestration.jobs import refresh

refresh_schedule = dg.ScheduleDefinition(
    name="refresh_schedule",
    job=refresh,
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A pass every 15 minutes.",
)

nightly_schedule = dg.ScheduleDefinition(
    name="nightly_schedule",
    job=refresh,
    cron_schedule="40 2 * * *",
    execution_timezone="UTC",
    run_config={"ops": {"build": {"config": {"every_row": True}}}},
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A pass a night that also holds every row of every mart against the messages.",
)
