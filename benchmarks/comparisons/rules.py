"""What every way of computing has to know, out of the same reference data as the product's.

How it is computed is each way's own affair.
"""

import csv

from msgmetrics.catalogue import catalogue
from msgmetrics.published_tables import Mart, marts
from msgmetrics.settings import PROJECT_ROOT

MEASURES = tuple(catalogue().measures)
CURRENCY = "USD"
# By these columns, from the first, the versions of a record compare; null stands before any value.
MESSAGE_ORDER = (
    "updated_at", "account_key", "direction", "channel_code", "sent_at", "sender", "sender_type",
    "recipient", "traffic_type", "interaction_id", "segments", "cost_cents", "currency",
    "communication_id", "campaign_reference_id", "country_id", "network_id", "application_id",
    "entity_id",
)  # fmt: skip
EVENT_ORDER = (
    "message_id", "event_type", "occurred_at", "status", "error_code", "bounce_type",
    "drop_reason", "url", "is_unsubscribe_link",
)  # fmt: skip
# A duration is the time from the first of two moments to the second.
DURATIONS = {
    "time_to_deliver": ("sent_at", "delivered_at"),
    "time_to_click_from_seen": ("seen_at", "clicked_at"),
    "time_to_click_from_delivered": ("delivered_at", "clicked_at"),
    "time_to_seen_from_delivered": ("delivered_at", "seen_at"),
}
BUCKETS = {bucket.name: bucket.seconds for bucket in catalogue().time_buckets.values()}
# The hourly marts that are made with every library.
SHARED_MARTS = ("hourly_by_channel", "hourly_by_country", "hourly_by_sender", "hourly_by_status")


def shared_marts() -> dict[str, Mart]:
    """Those marts with their columns."""
    return {name: marts()[name] for name in SHARED_MARTS}


def seed(name: str) -> list[dict[str, str]]:
    """The rows of a reference table."""
    with (PROJECT_ROOT / "seeds" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def seed_path(name: str) -> str:
    """Where a reference table lies, for libraries that read it themselves."""
    return str(PROJECT_ROOT / "seeds" / f"{name}.csv")


def bucket_sql(seconds: str) -> str:
    """SQL of the time bucket's name of a number of seconds; null for null."""
    names, bounds = list(BUCKETS), list(BUCKETS.values())
    whens = " ".join(
        f"when {seconds} < {bound} then '{name}'"
        for name, bound in zip(names, bounds[1:], strict=False)
    )
    return f"case when {seconds} is null then null {whens} else '{names[-1]}' end"
