"""pandas: everything in memory; texts of few values as categories, messages by their row number."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.comparisons.rules import (
    BUCKETS,
    CURRENCY,
    DURATIONS,
    EVENT_ORDER,
    MEASURES,
    MESSAGE_ORDER,
    seed,
    shared_marts,
)

_FEW = [
    "account_key", "direction", "channel_code", "sender", "sender_type", "traffic_type",
    "currency", "campaign_reference_id", "application_id", "entity_id", "event_type", "status",
    "error_code", "bounce_type", "drop_reason",
]  # fmt: skip
# Numbers stay what they are beside a null, and costs are millionths, exact and quick to sum.
_NUMBERS = {
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_COST = pa.decimal128(38, 6)
_COSTS = ("cost_cents_out", "cost_cents_in")
_TYPES = pd.DataFrame(seed("event_types")).set_index("event_type")
_ERROR_GROUPS = {row["error_code"]: row["error_group"] or None for row in seed("error_codes")}
_SUPPRESSING = [
    row["drop_reason"] for row in seed("drop_reasons") if row["is_suppression"] == "true"
]


def compute(landing: Path, results: Path) -> None:
    """Writes `messages` and the shared marts as Parquet."""
    messages, events = _messages(landing), _events(landing)
    outcomes = _outcomes(messages, events)
    del messages, events
    _write(outcomes, results / "messages.parquet")
    outcomes["period_start"] = outcomes["sent_at"].dt.floor("h")
    for name, mart in shared_marts().items():
        groups = outcomes.groupby(list(mart.key_columns), observed=True, dropna=False, sort=False)
        _write(groups[list(MEASURES)].sum().reset_index(), results / f"{name}.parquet")


# --- records ------------------------------------------------------------------------------------


def _read(landing: Path, stream: str) -> pd.DataFrame:
    table = ds.dataset(landing / stream, format="parquet").to_table()
    for name in set(_FEW) & set(table.column_names):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].dictionary_encode())
    if "cost_cents" in table.column_names:
        at = table.schema.get_field_index("cost_cents")
        millionths = pc.multiply(table["cost_cents"], pa.scalar(1_000_000)).cast(pa.int64())
        table = table.set_column(at, "cost_cents", millionths)
    return table.unify_dictionaries().to_pandas(types_mapper=_NUMBERS.get, self_destruct=True)


def _messages(landing: Path) -> pd.DataFrame:
    """The version of each message that counts."""
    arrived = _read(landing, "messages")
    channel = arrived["channel_code"].astype("str")
    type_ = arrived["sender_type"].astype("str")
    arrived["sender_type"] = type_.where(
        channel.isin(["SMS", "MMS"]),
        type_.fillna("DOMAIN").where(channel == "EMAIL", channel),
    ).astype("category")
    arrived["updated_at"] = arrived["updated_at"].fillna(arrived["sent_at"])
    arrived["segments"] = arrived["segments"].fillna(1)
    arrived["cost_cents"] = arrived["cost_cents"].fillna(0)
    arrived["currency"] = arrived["currency"].astype("str").fillna(CURRENCY).astype("category")
    return _latest(arrived, "message_id", MESSAGE_ORDER)


def _events(landing: Path) -> pd.DataFrame:
    """The version of each event that counts, with what its type says."""
    arrived = _read(landing, "events")
    types = arrived["event_type"].astype("str")
    bears_status = types.map(_TYPES["bears_status"] == "true").astype(bool)
    for name, default in (
        ("status", types.map(_TYPES["default_status"].replace("", None))),
        ("error_code", "NO_ERROR"),
    ):
        text = arrived[name].astype("str").fillna(default)
        arrived[name] = text.where(bears_status).astype("category")
    arrived["bounce_type"] = arrived["bounce_type"].where(types == "BOUNCED")
    reasons = arrived["drop_reason"].astype("str").fillna("OTHER")
    arrived["drop_reason"] = reasons.where(types == "DROPPED").astype("category")
    is_click = types == "CLICKED"
    arrived["url"] = arrived["url"].where(is_click)
    arrived["is_unsubscribe_link"] = arrived["is_unsubscribe_link"].fillna(False).where(is_click)
    return _latest(arrived, "event_id", EVENT_ORDER)


def _latest(arrived: pd.DataFrame, key: str, order: tuple[str, ...]) -> pd.DataFrame:
    """Most keys arrive once, so only the others are sorted."""
    is_repeated = arrived[key].duplicated(keep=False)
    several = arrived[is_repeated]
    # A category sorts by its place in a list, not as the text that it is.
    texts = several.astype({name: "str" for name in order if name in _FEW})
    texts = texts.sort_values(list(order), ascending=False, na_position="last")
    kept = several.loc[texts.drop_duplicates(key).index]
    return pd.concat([arrived[~is_repeated], kept], ignore_index=True)


# --- outcome ------------------------------------------------------------------------------------


def _statuses(events: pd.DataFrame) -> pd.DataFrame:
    """By row of its message, the event that decides its status."""
    types = events["event_type"].astype("str")
    status = events[types.map(_TYPES["bears_status"] == "true").astype(bool)]
    types = types[status.index]
    rank = pd.DataFrame(
        {
            "message": status["message"],
            "is_final": types.map(_TYPES["is_final"] == "true").astype(bool),
            "occurred_at": status["occurred_at"],
            "precedence": types.map(_TYPES["precedence"]).astype("int8"),
        }
    )
    order = ["message", "is_final", "occurred_at", "precedence"]
    # Ids are compared where all else is alike, which is seldom.
    is_tied = rank.duplicated(keep=False)
    rank["event_id"] = status["event_id"].where(is_tied, "")
    last_ids = rank[is_tied].sort_values("event_id").drop_duplicates(order, keep="last")
    rank = pd.concat([rank[~is_tied], last_ids]).sort_values(order)
    deciding = status.loc[rank.drop_duplicates("message", keep="last").index]
    deciding = deciding.assign(
        status_group=types[deciding.index].map(_TYPES["status_group"]),
        error_group=deciding["error_code"].astype("str").map(_ERROR_GROUPS),
        is_suppression=deciding["drop_reason"].isin(_SUPPRESSING),
    )
    told = ["event_type", "status", "status_group", "error_code", "error_group", "bounce_type"]
    return deciding.set_index("message")[[*told, "is_suppression"]]


def _engagement(events: pd.DataFrame) -> pd.DataFrame:
    """By row of its message, what its recipient did, and when it was first delivered."""
    of_type = {name: events["event_type"] == name for name in _TYPES.index}
    is_click = of_type["CLICKED"] & ~events["is_unsubscribe_link"].fillna(False).astype(bool)
    is_opening = of_type["SEEN"] | of_type["OPENED"]

    def of(chosen: pd.Series) -> pd.api.typing.DataFrameGroupBy:
        return events[chosen].groupby("message", sort=False)

    clicks = of(is_click)
    return pd.DataFrame(
        {
            "first_delivered_at": of(of_type["DELIVERED"])["occurred_at"].min(),
            "seen_at": of(is_opening)["occurred_at"].min(),
            "clicked_at": clicks["occurred_at"].min(),
            "opens": of(is_opening).size(),
            "clicks": clicks.size(),
            "distinct_urls": clicks["url"].nunique(),
            "unsubscribed": of(of_type["UNSUBSCRIBED"]).size() > 0,
            "complained": of(of_type["COMPLAINED"]).size() > 0,
        }
    )


def _opens_interaction(messages: pd.DataFrame) -> pd.Series:
    """Whether a message is the first of its interaction, or in none."""
    in_one = messages[["account_key", "interaction_id", "sent_at", "message_id"]].dropna(
        subset="interaction_id"
    )
    key = ["account_key", "interaction_id"]
    first = in_one.sort_values(["sent_at", "message_id"]).drop_duplicates(key)
    opens = messages["interaction_id"].isna()
    opens[first.index] = True
    return opens


def _outcomes(messages: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    is_out = messages["direction"] == "OUTBOUND"
    # Events of inbound messages change nothing, and those without a message wait.
    rows = pd.Index(messages["message_id"]).get_indexer(events["message_id"])
    counts = (rows >= 0) & is_out.to_numpy()[rows]
    events = events.assign(message=rows)[counts]
    statuses = _statuses(events).reindex(messages.index)
    engagement = _engagement(events).reindex(messages.index)
    sender, recipient = messages["sender"].astype("str"), messages["recipient"]
    ours, theirs = sender.where(is_out, recipient), recipient.where(is_out, sender)
    is_email = messages["channel_code"] == "EMAIL"
    has_status = statuses["event_type"].notna()
    told_status = statuses["status"].astype("str").fillna("PENDING_ENROUTE")
    told_group = statuses["status_group"].astype("str").fillna("PENDING")
    frame = pd.DataFrame(
        {
            **{name: messages[name] for name in ("message_id", "account_key", "channel_code")},
            "direction": messages["direction"],
            "traffic_type": messages["traffic_type"],
            "sender": ours.astype("category"),
            "sender_type": messages["sender_type"],
            "sender_domain": _domain(ours, is_email),
            "recipient_domain": _domain(theirs, is_email),
            "communication": messages["communication_id"],
            "campaign_reference": messages["campaign_reference_id"],
            **{name: messages[name] for name in ("network_id", "country_id")},
            **{name: messages[name] for name in ("application_id", "entity_id")},
            "status_group": told_group.where(is_out, "DELIVERED").astype("category"),
            "status": told_status.where(is_out, "DELIVERED_TO_HANDSET").astype("category"),
            "error_group": statuses["error_group"].where(has_status, "OK").astype("category"),
            "error_code": statuses["error_code"]
            .astype("str")
            .fillna("NO_ERROR")
            .astype("category"),
            "sent_at": messages["sent_at"],
            "seen_at": engagement["seen_at"],
            "clicked_at": engagement["clicked_at"],
        }
    )
    is_delivered = is_out & (frame["status_group"] == "DELIVERED")
    frame["delivered_at"] = engagement["first_delivered_at"].where(is_delivered)
    for name, (earlier, later) in DURATIONS.items():
        lasted = (frame[later] - frame[earlier]).dt.as_unit("us")
        seconds = lasted.astype("int64").clip(lower=0) // 1_000_000
        frame[f"{name}_seconds"] = seconds.astype("Int64").where(lasted.notna())
        frame[name] = _bucket(frame[f"{name}_seconds"])
    states = pd.DataFrame(
        {
            "is_out": is_out,
            "is_email": is_email,
            "is_delivered": is_delivered,
            "is_rejected": is_out & (frame["status_group"] == "REJECTED"),
            "is_dropped": is_out & (statuses["event_type"] == "DROPPED"),
            "opens_interaction": _opens_interaction(messages),
        }
    )
    measures = _measures(frame, states, messages, statuses, engagement)
    return frame.assign(**{name: measures[name] for name in MEASURES})


def _domain(address: pd.Series, is_email: pd.Series) -> pd.Series:
    """Of an email address, bare or in angle brackets behind a name; null if it has none."""
    emails = address[is_email]
    bracketed = emails.str.extract(r"(?s)^.*<([^>]*)>", expand=False)
    bare = bracketed.fillna(emails)
    domain = bare.str.extract(r"@([^@]+)\Z", expand=False).str.lower()
    return domain.reindex(address.index).astype("category")


def _bucket(seconds: pd.Series) -> pd.Series:
    bounds = [*BUCKETS.values(), np.inf]
    return pd.cut(seconds.astype("float64"), bounds, right=False, labels=list(BUCKETS))


def _measures(
    frame: pd.DataFrame,
    states: pd.DataFrame,
    messages: pd.DataFrame,
    statuses: pd.DataFrame,
    engagement: pd.DataFrame,
) -> dict[str, pd.Series]:
    is_out, is_email = states["is_out"], states["is_email"]
    is_rejected, is_dropped = states["is_rejected"], states["is_dropped"]
    opens_interaction = states["opens_interaction"]
    is_sent = is_out & (~is_email | ~(is_rejected | is_dropped))
    numbers = {name: engagement[name].fillna(0) for name in ("opens", "clicks", "distinct_urls")}
    cost = messages["cost_cents"].where(messages["currency"] == CURRENCY, 0)
    measures = {
        "messages_out": is_out,
        "messages_in": ~is_out,
        "traffic_out": messages["segments"].where(is_out & ~(is_email & is_rejected), 0),
        "traffic_in": messages["segments"].where(~is_out, 0),
        "interactions_out": is_out & opens_interaction,
        "interactions_in": ~is_out & opens_interaction,
        "cost_cents_out": cost.where(is_out, 0),
        "cost_cents_in": cost.where(~is_out, 0),
        "accepted": is_out & is_email & ~is_rejected,
        "sent": is_sent,
        "sent_not_rejected": is_sent & ~is_rejected,
        "rejected": is_rejected,
        "delivered": states["is_delivered"],
        "delivered_in_5_sec": (frame["time_to_deliver_seconds"] < 5).fillna(False),
        "failed": is_out & frame["status_group"].isin(["UNDELIVERABLE", "EXPIRED", "REJECTED"]),
        "soft_bounced": statuses["bounce_type"] == "SOFT",
        "hard_bounced": statuses["bounce_type"] == "HARD",
        "dropped": is_dropped,
        "suppressed": is_dropped & statuses["is_suppression"].eq(True),
        "opened_messages": numbers["opens"] > 0,
        "clicked_messages": numbers["clicks"] > 0,
        "unsubscribed": engagement["unsubscribed"].eq(True),
        "complained": engagement["complained"].eq(True),
        **numbers,
    }
    return {
        name: value.astype("int64" if name in _COSTS else "int32")
        for name, value in measures.items()
    }


# --- results ------------------------------------------------------------------------------------


def _write(frame: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name in _COSTS:
        table = _exact(table, name)
    pq.write_table(table, path)


def _exact(table: pa.Table, name: str) -> pa.Table:
    """Millionths as a decimal of six places."""
    whole = table[name].combine_chunks().cast(pa.decimal128(38, 0))
    exact = pa.Array.from_buffers(_COST, len(whole), whole.buffers(), offset=whole.offset)
    return table.set_column(table.schema.get_field_index(name), name, exact)
