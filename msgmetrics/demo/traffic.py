"""The messages of one slice, as columns of numbers.

Columns, one row per message (or per version of it); -1 stands for a field that is missing:
    ordinal, id_us          what the message id is made of: running number, time of sending
    sent_us, updated_us     microseconds since 1970
    account, channel        numbers in the world
    inbound                 whether the end user sent it
    company, user           index into the world's senders; number of the end user
    country_id, network_id  as in the record
    traffic_type            index into channels.TRAFFIC_TYPES
    interaction             running number of a conversation, or from CASES on that of a case
    segments, cost_micros   parts; millionths of a cent
    currency                index into CURRENCIES
    communication           as in the record
    campaign, month         index into the world's campaigns; months since 1970
    application, entity     number within the account
    arrives_us              when the record reaches the landing zone
    repeat                  whether this is a second arrival of a record

What happens to the messages afterwards is in `funnel`, their text in `records`.
"""

import numpy as np

from msgmetrics.demo import channels
from msgmetrics.demo.columns import MISSING, Columns, take
from msgmetrics.demo.volume import DAY, HOUR, MINUTE, SECOND, Slice, Volume
from msgmetrics.demo.world import (
    CAMPAIGNS_PER_ACCOUNT,
    COUNTRIES,
    COUNTRY_IDS,
    HOME_COUNTRIES,
    NETWORKS,
    SENDERS_PER_CHANNEL,
    TEST_NETWORK,
    World,
)

CURRENCIES = ("USD", "EUR")
CASES = 2**50
"""Interactions from here on are cases: they go on for days, and many slices add to them."""

_NO_ADDRESS_COUNTRY = 0.7  # share of mail and handle traffic whose country nobody knows
_NUMBER = channels.NUMBER


def make_messages(world: World, volume: Volume, slice_: Slice, end_us: int) -> Columns:
    """The messages that are sent during a slice, each once, all arriving before `end_us`."""
    rng = np.random.default_rng([world.seed, 1, slice_.number])
    contacts, sizes = _contacts(world, slice_.messages, rng)
    contact = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(slice_.messages) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    starts = volume.sample(slice_, len(sizes), rng)
    sent_us = _spread_talks(starts, sizes, contact, place, slice_, rng)

    each = take(contacts, contact)
    channel, account = each["channel"], each["account"]
    count = slice_.messages
    inbound = (place + each["inbound_first"]) % 2 == 1
    ordinal = slice_.first_ordinal + np.arange(count)

    segments = _segments(channel, rng)
    price = world.price_micros[channel, each["country"]]
    cost = np.where(inbound, 0, price * np.maximum(segments, 1))
    cost[rng.random(count) < 0.05] = MISSING
    currency = rng.choice([MISSING, 0, 1], count, p=[0.597, 0.4, 0.003])
    delay = rng.exponential(2 * SECOND, count)
    held_up = rng.random(count) < 0.01
    delay = np.where(held_up, rng.lognormal(np.log(2 * HOUR), 1.2, count), delay)
    arrives_us = sent_us + delay.clip(0, 20 * HOUR).astype(np.int64)
    return {
        "ordinal": ordinal,
        "id_us": sent_us,
        "sent_us": sent_us,
        "updated_us": np.where(rng.random(count) < 0.3, sent_us, MISSING),
        "account": account,
        "channel": channel,
        "inbound": inbound,
        "company": each["company"],
        "user": each["user"],
        "country_id": each["country_id"],
        "network_id": each["network_id"],
        "traffic_type": _traffic_types(channel, inbound, each["purpose"]),
        "interaction": _interactions(each, sizes, contact, ordinal, place, sent_us, rng),
        "segments": segments,
        "cost_micros": cost,
        "currency": currency,
        "communication": np.where(inbound, MISSING, each["communication"]),
        "campaign": np.where(inbound, MISSING, each["campaign"]),
        "month": np.full(count, _month(slice_.start_us)),
        "application": each["application"],
        "entity": each["entity"],
        # A message may be held up, but all of them are there at the end of the period.
        "arrives_us": np.minimum(arrives_us, end_us - 1),
        "repeat": np.zeros(count, bool),
    }


def corrections(messages: Columns, rng: np.random.Generator, end_us: int) -> Columns:
    """Later versions of a few messages, each with one field changed.

    One in twenty keeps the `updated_at` of the original: only the order of values decides then.
    """
    picked = take(messages, np.flatnonzero(rng.random(len(messages["ordinal"])) < 0.004))
    count = len(picked["ordinal"])
    after = (rng.lognormal(np.log(3 * HOUR), 1.3, count) + MINUTE).clip(0, 4 * DAY).astype(np.int64)
    changed_us = picked["sent_us"] + after
    tied = rng.random(count) < 0.05
    what = rng.integers(4, size=count)
    what = np.where((what == 3) & (picked["network_id"] < 0), 0, what)
    next_campaign = (picked["campaign"] % CAMPAIGNS_PER_ACCOUNT + 1) % CAMPAIGNS_PER_ACCOUNT
    versions = picked | {
        "updated_us": np.where(tied, picked["sent_us"], changed_us),
        "arrives_us": changed_us + rng.integers(1, 90, count) * SECOND,
        "cost_micros": np.where(
            what == 0, picked["cost_micros"].clip(0) + 125_000, picked["cost_micros"]
        ),
        "segments": np.where(what == 1, picked["segments"].clip(1) + 1, picked["segments"]),
        "campaign": np.where(
            what == 2,
            picked["account"] * CAMPAIGNS_PER_ACCOUNT + next_campaign,
            picked["campaign"],
        ),
        "network_id": np.where(what == 3, TEST_NETWORK, picked["network_id"]),
    }
    return take(versions, versions["arrives_us"] < end_us)


def _contacts(world: World, messages: int, rng: np.random.Generator) -> tuple[Columns, np.ndarray]:
    """Contacts of an account with an end user; how many messages each has, `messages` in all."""
    account = np.searchsorted(world.popularity, rng.random(messages), side="right")
    account = account.clip(0, len(world.popularity) - 1)
    cuts = world.channel_cuts[account]
    channel = (cuts[:, :-1] < rng.random(messages)[:, None]).sum(axis=1)
    talks = rng.random(messages) < channels.column("talk")[channel]
    sizes = np.where(talks, 1 + rng.geometric(0.4, messages).clip(1, 9), 1)
    totals = np.cumsum(sizes)
    count = int(np.searchsorted(totals, messages)) + 1 if messages else 0
    account, channel, talks, sizes = (x[:count] for x in (account, channel, talks, sizes))
    if count:
        sizes[-1] -= totals[count - 1] - messages

    address = channels.column("address", int)[channel]
    inbound_share = np.where(talks, 0.45, channels.column("inbound")[channel])
    inbound_first = rng.random(count) < inbound_share
    answerable = talks | inbound_first
    favourite = np.minimum(rng.geometric(0.62, count), SENDERS_PER_CHANNEL) - 1
    sender = np.where(answerable & (favourite == 0), 1, favourite)
    country, country_id, network_id = _places(world, account, channel, rng)
    purpose = rng.random(count)
    campaign = np.minimum(rng.geometric(0.35, count), CAMPAIGNS_PER_ACCOUNT) - 1
    contacts = {
        "account": account,
        "channel": channel,
        "talks": talks,
        "inbound_first": inbound_first.astype(int),
        "company": (account * len(channels.CHANNELS) + channel) * SENDERS_PER_CHANNEL + sender,
        "user": (world.users * rng.random(count) ** 1.7).astype(np.int64),
        "country": country,
        "country_id": np.where(
            (address != channels.PHONE) & (rng.random(count) < _NO_ADDRESS_COUNTRY),
            MISSING,
            country_id,
        ),
        "network_id": network_id,
        "purpose": purpose,
        "campaign": np.where(purpose < 0.62, account * CAMPAIGNS_PER_ACCOUNT + campaign, MISSING),
        "communication": np.where(purpose < 0.5, 7_000_000_000 + account * 100 + campaign, MISSING),
        "application": np.where(
            rng.random(count) < 0.8, (3 * rng.random(count) ** 2).astype(int), MISSING
        ),
        "entity": np.where(rng.random(count) < 0.35, rng.integers(2, size=count), MISSING),
    }
    return contacts, sizes


def _places(
    world: World, account: np.ndarray, channel: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Country (index and id) and network of each contact; mailboxes and handles have no network."""
    count = len(account)
    anywhere = np.searchsorted(world.country_cuts, rng.random(count), side="right")
    country = np.where(rng.random(count) < 0.72, world.home[account], anywhere)
    country = country.clip(0, len(COUNTRIES) - 1)
    for code, homes in HOME_COUNTRIES.items():
        rows = np.flatnonzero(channel == _NUMBER[code])
        places = np.array([list(COUNTRY_IDS).index(home) for home in homes])
        country[rows] = places[(rng.random(len(rows)) * 1.6).astype(int).clip(0, len(homes) - 1)]
    rank = (rng.geometric(0.5, count) - 1).clip(0, 3)
    network = NETWORKS[country, rank]
    chance = rng.random(count)
    network = np.where(chance < 0.0005, TEST_NETWORK, network)
    by_phone = channels.column("address", int)[channel] == channels.PHONE
    network = np.where(by_phone & (chance < 0.92), network, MISSING)
    return country, COUNTRY_IDS[country], network


def _spread_talks(
    starts: np.ndarray,
    sizes: np.ndarray,
    contact: np.ndarray,
    place: np.ndarray,
    slice_: Slice,
    rng: np.random.Generator,
) -> np.ndarray:
    """Times of sending: a talk begins at its start and has pauses of minutes, within the slice."""
    pauses = np.where(place == 0, 0.0, rng.exponential(4 * MINUTE, len(contact)) + 3 * SECOND)
    sums = np.cumsum(pauses)
    firsts = np.cumsum(sizes) - sizes
    offsets = sums - np.repeat(sums[firsts], sizes)
    lengths = offsets[firsts + sizes - 1]
    room = slice_.end_us - 1 - starts
    # Talks that would outlast the slice are quicker; not all to the same end, that would show.
    squeeze = np.minimum(1.0, room * rng.uniform(0.1, 1, len(sizes)) / np.maximum(lengths, 1.0))
    times = starts[contact] + (offsets * squeeze[contact]).astype(np.int64)
    # Senders' clocks count milliseconds, most of them.
    whole = np.where(rng.random(len(times)) < 0.9, times // 1000 * 1000, times)
    return np.maximum(whole, slice_.start_us)


def _segments(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = len(channel)
    parts = np.minimum(rng.geometric(0.72, count), 6)
    said = np.where(rng.random(count) < 0.3, 1, MISSING)
    return np.where(channel == _NUMBER["SMS"], parts, said)


def _traffic_types(channel: np.ndarray, inbound: np.ndarray, purpose: np.ndarray) -> np.ndarray:
    whatsapp = np.select([inbound, purpose < 0.35, purpose < 0.6, purpose < 0.85], [3, 2, 0, 1], 3)
    rcs = np.select([inbound, purpose < 0.45, purpose < 0.8], [7, 4, 5], 6)
    known = purpose < 0.97
    return np.select(
        [(channel == _NUMBER["WHATSAPP"]) & known, (channel == _NUMBER["RCS"]) & known],
        [whatsapp, rcs],
        MISSING,
    )


def _interactions(
    each: Columns,
    sizes: np.ndarray,
    contact: np.ndarray,
    ordinal: np.ndarray,
    place: np.ndarray,
    sent_us: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    chats = channels.column("errors", int)[each["channel"]] == channels.CHAT
    lone = np.where(chats & (each["purpose"] < 0.4), ordinal, MISSING)
    named = np.where(each["talks"], ordinal - place, lone)
    in_case = (rng.random(len(sizes)) < 0.02)[contact]
    case_number = (rng.integers(200, size=len(sizes)))[contact]
    week = (sent_us + 3 * DAY) // (7 * DAY)
    return np.where(in_case, CASES + week * 200 + case_number, named)


def _month(time_us: int) -> int:
    return int(np.datetime64(time_us, "us").astype("datetime64[M]").astype(int))
