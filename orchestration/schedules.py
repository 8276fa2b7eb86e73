"""When runs start by themselves.

Nothing about lateness stands here: a record that comes late counts in the hour in which its message
was sent, however late it is, so a schedule only decides how soon it is seen.
"""

import dagster as dg

from orchestration.jobs import maintenance, refresh
from orchestration.partitions import landing_day


@dg.schedule(
    job=refresh,
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A pass every 15 minutes.",
)
def refresh_schedule() -> dg.RunRequest:
    return dg.RunRequest(partition_key=landing_day())


@dg.schedule(
    job=refresh,
    cron_schedule="40 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A pass a night that also holds every row of every mart against the messages.",
)
def nightly_schedule() -> dg.RunRequest:
    return dg.RunRequest(
        partition_key=landing_day(),
        run_config={"ops": {"build": {"config": {"every_row": True}}}},
    )


maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance_schedule",
    job=maintenance,
    cron_schedule="5 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Order and room of the files, and what is kept, once a night.",
)
