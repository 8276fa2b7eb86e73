"""polars: lazy frames on the streaming engine; the outcome goes to a file, the marts come of it."""

from pathlib import Path

import polars as pl

from benchmarks.comparisons.rules import (
    BUCKETS,
    CURRENCY,
    DURATIONS,
    EVENT_ORDER,
    MEASURES,
    MESSAGE_ORDER,
    seed_path,
    shared_marts,
)

_EMAIL = pl.col("channel_code") == "EMAIL"
_CLICK = (pl.col("event_type") == "CLICKED") & ~pl.col("is_unsubscribe_link")
_OPENING = pl.col("event_type").is_in(["SEEN", "OPENED"])


def compute(landing: Path, results: Path) -> None:
    """Writes `messages` and the shared marts as Parquet."""
    messages, events = _messages(landing), _events(landing)
    outcomes = _outcomes(messages, events)
    outcomes.sink_parquet(results / "messages.parquet", maintain_order=False, engine="streaming")
    hours = pl.scan_parquet(results / "messages.parquet").with_columns(
        period_start=pl.col("sent_at").dt.truncate("1h"),
        # A cost has 18 digits and the sum of costs more.
        cost_cents_out=pl.col("cost_cents_out").cast(pl.Decimal(38, 6)),
        cost_cents_in=pl.col("cost_cents_in").cast(pl.Decimal(38, 6)),
    )
    for name, mart in shared_marts().items():
        mart_of_hours = hours.group_by(mart.key_columns).agg(pl.col(MEASURES).sum())
        mart_of_hours.sink_parquet(results / f"{name}.parquet", engine="streaming")


# --- records ------------------------------------------------------------------------------------


def _scan(landing: Path, stream: str) -> pl.LazyFrame:
    return pl.scan_parquet(landing / stream / "**/*.parquet", hive_partitioning=False)


def _messages(landing: Path) -> pl.LazyFrame:
    """The version of each message that counts."""
    arrived = _scan(landing, "messages").with_columns(
        pl.col("updated_at").fill_null(pl.col("sent_at")),
        pl.when(pl.col("channel_code").is_in(["SMS", "MMS"]))
        .then(pl.col("sender_type"))
        .when(_EMAIL)
        .then(pl.col("sender_type").fill_null("DOMAIN"))
        .otherwise(pl.col("channel_code"))
        .alias("sender_type"),
        pl.col("segments").fill_null(1),
        pl.col("cost_cents").fill_null(0),
        pl.col("currency").fill_null(CURRENCY),
    )
    return _latest(arrived, "message_id", MESSAGE_ORDER)


def _events(landing: Path) -> pl.LazyFrame:
    """The version of each event that counts, with what its type says."""
    types = pl.scan_csv(seed_path("event_types"))
    of_type = pl.col("event_type")
    arrived = (
        _scan(landing, "events")
        .join(types, on="event_type")
        .with_columns(
            pl.when("bears_status").then(pl.col("status").fill_null(pl.col("default_status"))),
            pl.when("bears_status").then(pl.col("error_code").fill_null("NO_ERROR")),
            pl.when(of_type == "BOUNCED").then("bounce_type"),
            pl.when(of_type == "DROPPED").then(pl.col("drop_reason").fill_null("OTHER")),
            pl.when(of_type == "CLICKED").then("url"),
            pl.when(of_type == "CLICKED").then(pl.col("is_unsubscribe_link").fill_null(False)),
        )
    )
    return _latest(arrived, "event_id", EVENT_ORDER)


def _latest(arrived: pl.LazyFrame, key: str, order: tuple[str, ...]) -> pl.LazyFrame:
    """Most keys arrive once, so only the others are sorted."""
    repeated = arrived.group_by(key).len().filter(pl.col("len") > 1).select(key)
    once = arrived.join(repeated, on=key, how="anti")
    several = (
        arrived.join(repeated, on=key, how="semi")
        .sort(order, descending=True, nulls_last=True)
        .unique(key, keep="first", maintain_order=True)
    )
    return pl.concat([once, several])


# --- outcome ------------------------------------------------------------------------------------


def _statuses(events: pl.LazyFrame) -> pl.LazyFrame:
    """By message, the event that decides its status."""
    told = ("event_type", "status", "status_group", "error_code", "bounce_type", "drop_reason")
    order = ("is_final", "occurred_at", "precedence", "event_id")
    groups = pl.scan_csv(seed_path("error_codes")).select("error_code", "error_group")
    reasons = pl.scan_csv(seed_path("drop_reasons"))
    return (
        events.filter("bears_status")
        .group_by("message_id")
        .agg(pl.struct(told).max_by(pl.struct(order)).alias("deciding"))
        .select("message_id", pl.col("deciding").struct.field(*told))
        .join(groups, on="error_code", how="left")
        .join(reasons, on="drop_reason", how="left")
        .with_columns(has_status=pl.lit(True))
    )


def _engagement(events: pl.LazyFrame) -> pl.LazyFrame:
    """By message, what its recipient did, and when it was first reported as delivered."""
    happened = pl.col("occurred_at")
    engaging = ["DELIVERED", "SEEN", "OPENED", "CLICKED", "UNSUBSCRIBED", "COMPLAINED"]
    return (
        events.filter(pl.col("event_type").is_in(engaging))
        .group_by("message_id")
        .agg(
            first_delivered_at=happened.filter(pl.col("event_type") == "DELIVERED").min(),
            seen_at=happened.filter(_OPENING).min(),
            clicked_at=happened.filter(_CLICK).min(),
            opens=_OPENING.sum(),
            clicks=_CLICK.sum(),
            distinct_urls=pl.col("url").filter(_CLICK).n_unique(),
            unsubscribed=(pl.col("event_type") == "UNSUBSCRIBED").any(),
            complained=(pl.col("event_type") == "COMPLAINED").any(),
        )
    )


def _openers(messages: pl.LazyFrame) -> pl.LazyFrame:
    """The first message of each interaction."""
    return (
        messages.filter(pl.col("interaction_id").is_not_null())
        .group_by("account_key", "interaction_id")
        .agg(pl.col("message_id").min_by(pl.struct("sent_at", "message_id")))
        .select("message_id", opens_its_interaction=pl.lit(True))
    )


def _outcomes(messages: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
    is_out = pl.col("direction") == "OUTBOUND"
    # Events of inbound messages change nothing.
    outbound = messages.filter(is_out)
    inbound = messages.filter(~is_out)
    with_events = outbound.join(_statuses(events), on="message_id", how="left").join(
        _engagement(events), on="message_id", how="left"
    )
    return (
        pl.concat([with_events, inbound], how="diagonal")
        .join(_openers(messages), on="message_id", how="left")
        .with_columns(
            is_out=is_out,
            has_status=pl.col("has_status").fill_null(False),
            event_type=pl.col("event_type").fill_null("NONE"),
        )
        .with_columns(**_dimensions())
        .with_columns(**_states())
        .with_columns(
            delivered_at=pl.when("is_delivered").then("first_delivered_at"),
            is_sent=pl.col("is_out") & (~_EMAIL | ~(pl.col("is_rejected") | pl.col("is_dropped"))),
        )
        .with_columns(**{f"{name}_seconds": _seconds(*ends) for name, ends in DURATIONS.items()})
        .with_columns(**{name: _bucket(f"{name}_seconds") for name in DURATIONS})
        .select(*_KEPT, **_measures())
    )


_KEPT = (
    "message_id", "account_key", "channel_code", "direction", "traffic_type", "sender",
    "sender_type", "sender_domain", "recipient_domain", "communication", "campaign_reference",
    "network_id", "country_id", "application_id", "entity_id", "status_group", "status",
    "error_group", "error_code", *DURATIONS, "sent_at", "delivered_at", "seen_at", "clicked_at",
    *(f"{name}_seconds" for name in DURATIONS),
)  # fmt: skip


def _dimensions() -> dict[str, pl.Expr]:
    is_out = pl.col("is_out")
    ours = pl.when(is_out).then("sender").otherwise("recipient")
    theirs = pl.when(is_out).then("recipient").otherwise("sender")
    status = pl.col("status").fill_null("PENDING_ENROUTE")
    group = pl.col("status_group").fill_null("PENDING")
    return {
        "sender": ours,
        "sender_domain": pl.when(_EMAIL).then(_domain(ours)),
        "recipient_domain": pl.when(_EMAIL).then(_domain(theirs)),
        "communication": pl.col("communication_id"),
        "campaign_reference": pl.col("campaign_reference_id"),
        "status": pl.when(is_out).then(status).otherwise(pl.lit("DELIVERED_TO_HANDSET")),
        "status_group": pl.when(is_out).then(group).otherwise(pl.lit("DELIVERED")),
        "error_code": pl.col("error_code").fill_null("NO_ERROR"),
        "error_group": pl.when("has_status").then("error_group").otherwise(pl.lit("OK")),
    }


def _domain(address: pl.Expr) -> pl.Expr:
    """Of an email address, bare or in angle brackets behind a name; null if it has none."""
    bare = pl.coalesce(address.str.extract(r"(?s)^.*<([^>]*)>"), address)
    return bare.str.extract(r"@([^@]+)$").str.to_lowercase()


def _states() -> dict[str, pl.Expr]:
    is_out, group = pl.col("is_out"), pl.col("status_group")
    return {
        "is_delivered": is_out & (group == "DELIVERED"),
        "is_rejected": is_out & (group == "REJECTED"),
        "is_failed": is_out & group.is_in(["UNDELIVERABLE", "EXPIRED", "REJECTED"]),
        "is_dropped": is_out & (pl.col("event_type") == "DROPPED"),
        "opens_interaction": pl.col("interaction_id").is_null()
        | pl.col("opens_its_interaction").fill_null(False),
    }


def _seconds(earlier: str, later: str) -> pl.Expr:
    return (pl.col(later) - pl.col(earlier)).dt.total_microseconds().clip(
        lower_bound=0
    ) // 1_000_000


def _bucket(seconds: str) -> pl.Expr:
    names, bounds = list(BUCKETS), list(BUCKETS.values())
    cut = pl.col(seconds).cut(bounds[1:], labels=names, left_closed=True)
    return cut.cast(pl.String)


def _measures() -> dict[str, pl.Expr]:
    col, is_out = pl.col, pl.col("is_out")
    segments, opens, clicks = col("segments"), col("opens").fill_null(0), col("clicks").fill_null(0)
    cost = pl.when(col("currency") == CURRENCY).then("cost_cents").otherwise(0)
    is_counted = is_out & ~(_EMAIL & col("is_rejected"))
    flags = {
        "messages_out": is_out,
        "messages_in": ~is_out,
        "interactions_out": is_out & col("opens_interaction"),
        "interactions_in": ~is_out & col("opens_interaction"),
        "accepted": is_out & _EMAIL & ~col("is_rejected"),
        "sent": col("is_sent"),
        "sent_not_rejected": col("is_sent") & ~col("is_rejected"),
        "rejected": col("is_rejected"),
        "delivered": col("is_delivered"),
        "delivered_in_5_sec": (col("time_to_deliver_seconds") < 5).fill_null(False),
        "failed": col("is_failed"),
        "soft_bounced": (col("bounce_type") == "SOFT").fill_null(False),
        "hard_bounced": (col("bounce_type") == "HARD").fill_null(False),
        "dropped": col("is_dropped"),
        "suppressed": col("is_dropped") & col("is_suppression").fill_null(False),
        "opened_messages": opens > 0,
        "clicked_messages": clicks > 0,
        "unsubscribed": col("unsubscribed").fill_null(False),
        "complained": col("complained").fill_null(False),
    }
    sums = {
        "traffic_out": pl.when(is_counted).then(segments).otherwise(0),
        "traffic_in": pl.when(is_out).then(0).otherwise(segments),
        "cost_cents_out": pl.when(is_out).then(cost).otherwise(0),
        "cost_cents_in": pl.when(is_out).then(0).otherwise(cost),
        "opens": opens,
        "clicks": clicks,
        "distinct_urls": col("distinct_urls").fill_null(0),
    }
    measures = {name: flag.cast(pl.Int32) for name, flag in flags.items()}
    measures |= {name: value for name, value in sums.items() if name.startswith("cost")}
    measures |= {
        name: value.cast(pl.Int32) for name, value in sums.items() if not name.startswith("cost")
    }
    return {name: measures[name] for name in MEASURES}
