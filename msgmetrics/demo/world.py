"""Who sends and where to: accounts, their addresses and campaigns, countries, networks, prices.

Made once from the seed. Every company is invented; every mail domain is one that is reserved for
examples, every telephone number begins with 999, which no country has, every short code with 0.
When and how much is sent is in `volume` and `traffic`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from msgmetrics.demo import channels

SENDERS_PER_CHANNEL = 3
CAMPAIGNS_PER_ACCOUNT = 8
LINKS_PER_ACCOUNT = 12
UNSUBSCRIBE_LINK = LINKS_PER_ACCOUNT - 1
"""The last link of every account is the one that unsubscribes."""


class Country(NamedTuple):
    """Id (ISO 3166-1 numeric), share of traffic, price factor, at most four networks."""

    country_id: int
    share: float
    price: float
    networks: tuple[int, ...]


COUNTRIES = (
    Country(840, 0.16, 0.45, (310260, 310410, 311480)),
    Country(276, 0.13, 2.9, (262001, 262002, 262003)),
    Country(826, 0.10, 1.5, (234010, 234015, 234030, 234020)),
    Country(76, 0.09, 1.0, (724005, 724011, 724006, 724002)),
    Country(356, 0.09, 0.2, (405840, 404045, 404010, 404020)),
    Country(250, 0.07, 2.2, (208001, 208010, 208020, 208015)),
    Country(380, 0.05, 2.5, (222001, 222010, 222088)),
    Country(724, 0.05, 2.6, (214007, 214003, 214001)),
    Country(528, 0.03, 3.1, (204008, 204004, 204016)),
    Country(616, 0.03, 1.1, (260006, 260002, 260003, 260001)),
    Country(191, 0.03, 1.9, (219001, 219010, 219002)),
    Country(40, 0.02, 2.3, (232001, 232003, 232005)),
    Country(756, 0.02, 2.4, (228001, 228002, 228003)),
    Country(792, 0.02, 0.6, (286001, 286002, 286003)),
    Country(484, 0.02, 1.2, (334020, 334030)),
    Country(410, 0.02, 0.9, (450005, 450008, 450006)),
    Country(392, 0.02, 3.4, (440010, 440050, 440020, 440051)),
    Country(704, 0.015, 1.7, (452004, 452002, 452001)),
    Country(764, 0.01, 0.8, (520003, 520005, 520004)),
    Country(710, 0.01, 0.9, (655001, 655010, 655007)),
    Country(566, 0.01, 1.6, (621030, 621050, 621020, 621060)),
    Country(360, 0.01, 3.0, (510010, 510001, 510011)),
    Country(36, 0.01, 2.0, (505001, 505002, 505003)),
    Country(124, 0.01, 0.5, (302720, 302610, 302220)),
)
COUNTRY_IDS = np.array([country.country_id for country in COUNTRIES])
NETWORKS = np.array([np.resize(country.networks, 4) for country in COUNTRIES])

TEST_NETWORK = 999099
"""A network that no reference list has: records may carry one."""

HOME_COUNTRIES = {
    "KAKAOA": (410,), "KAKAOC": (410,), "KAKAOS": (410,), "ZALONS": (704,),
    "LINELNS": (392, 764), "LINEOA": (392, 764),
}  # fmt: skip
"""Channels that are at home in a few countries; all others go everywhere."""

_FIRST = (
    "Amber", "Birch", "Cobalt", "Dawn", "Ember", "Fjord", "Granite", "Harbour", "Indigo",
    "Juniper", "Kestrel", "Lantern", "Meadow", "Nimbus", "Orchard", "Pebble", "Quartz", "Rowan",
    "Saffron", "Tidal", "Umber", "Velvet", "Willow", "Zephyr", "Säntis", "Łuna", "Ñandú",
)  # fmt: skip
_SECOND = (
    "Bank", "Travel", "Retail", "Health", "Energy", "Logistics", "Insurance", "Telecom", "Games",
    "Foods", "Mobility", "Academy", "Fashion", "Media", "Pharmacy", "Tickets", "Hotels", "Motors",
)  # fmt: skip
_ASCII = str.maketrans("äŁñúÑ", "aLnuN")
_THEMES = (
    "welcome", "otp", "receipt", "shipping", "appointment", "spring-sale", "newsletter",
    "win-back", "survey", "loyalty", "price-alert", "renewal", "onboarding", "black-friday",
    "referral", "reminder", "invoice", "product-news", "event-invite", "abandoned-cart",
)  # fmt: skip

GIVEN_NAMES = pa.array([
    "Ana", "Ben", "Chloe", "David", "Elif", "Fatima", "Goran", "Hana", "Ivan", "Julia", "Kenji",
    "Lena", "Marko", "Nina", "Omar", "Petra", "Quinn", "Rosa", "Sven", "Tomás", "Uma", "Vera",
    "Wei", "Yara",
])  # fmt: skip
MAIL_NAMES = pa.array([name.lower().replace("á", "a") for name in GIVEN_NAMES.to_pylist()])

MAIL_DOMAINS = pa.array([
    "mail.example.com", "inbox.example.net", "post.example.org", "webmail.example.com",
    "example.net", "example.com", "example.org", "fastmail.example.net", "letters.example.org",
    "cloud.example.com", "work.example.net", "campus.example.org", "mx.example.com",
    *(f"{sub}{n}.example.{tld}" for n in range(1, 8)
      for sub, tld in (("corp", "com"), ("shop", "net"), ("club", "org"))),
])  # fmt: skip
MAIL_DOMAIN_CUTS = np.cumsum(1 / np.arange(1, len(MAIL_DOMAINS) + 1) ** 1.4)
MAIL_DOMAIN_CUTS /= MAIL_DOMAIN_CUTS[-1]


@dataclass(frozen=True)
class World:
    """Everything that lasts longer than one slice. Arrays are indexed by account number."""

    seed: int
    account_keys: pa.Array
    account_names: pa.Array
    plans: pa.Array
    parents: np.ndarray  # account number, -1 = none
    unlisted: int  # the account that no account record names
    popularity: np.ndarray  # cumulated
    channel_cuts: np.ndarray  # [account, channel], cumulated
    home: np.ndarray  # index into COUNTRIES
    country_cuts: np.ndarray  # cumulated shares of COUNTRIES
    quality: np.ndarray  # above 1: fewer deliveries
    users: int
    senders: pa.Array  # [account, channel, sender] flattened
    sender_types: pa.Array  # the same
    links: pa.Array  # [account, link] flattened
    campaigns: pa.Array  # [account, campaign] flattened, without the month
    price_micros: np.ndarray  # [channel, country], millionths of a cent


def make_world(messages: int, seed: int) -> World:
    """The world of a demo of that many messages: the more messages, the more accounts and users."""
    rng = np.random.default_rng([seed, 0])
    accounts = int(np.clip(messages**0.5 / 4, 24, 2000))
    numbers = rng.permutation(accounts)
    names, slugs = _companies(accounts, rng)
    ranks = np.empty(accounts, int)
    ranks[numbers] = np.arange(accounts)
    weights = 1 / (ranks + 1.5) ** 1.05
    country_shares = np.array([country.share for country in COUNTRIES])
    tilt = channels.column("share") * rng.lognormal(0, 0.3, (accounts, len(channels.CHANNELS)))
    senders, types = _senders(slugs, rng)
    plans = rng.choice(["free", "growth", "scale"], accounts, p=[0.5, 0.35, 0.15])
    plans[ranks < accounts // 10] = "scale"
    return World(
        seed=seed,
        account_keys=pa.array([f"ACC{number:05d}" for number in range(1, accounts + 1)]),
        account_names=pa.array(names),
        plans=pa.array(plans.tolist()),
        parents=_parents(accounts, rng),
        unlisted=int(numbers[accounts // 2]),
        popularity=np.cumsum(weights) / weights.sum(),
        channel_cuts=np.cumsum(tilt / tilt.sum(axis=1, keepdims=True), axis=1),
        home=rng.choice(len(COUNTRIES), accounts, p=country_shares / country_shares.sum()),
        country_cuts=np.cumsum(country_shares / country_shares.sum()),
        quality=rng.uniform(0.75, 1.5, accounts),
        users=max(500, messages // 5),
        senders=senders,
        sender_types=types,
        links=pa.array(
            [
                f"https://links.{slug}.example.com/"
                + (f"{_THEMES[(n * 5 + k) % len(_THEMES)]}/{k + 1}?src=msg"
                   if k != UNSUBSCRIBE_LINK else "unsubscribe")
                for n, slug in enumerate(slugs)
                for k in range(LINKS_PER_ACCOUNT)
            ]
        ),
        campaigns=pa.array(
            [
                f"{_THEMES[(n * 3 + k) % len(_THEMES)]}-"
                for n in range(accounts)
                for k in range(CAMPAIGNS_PER_ACCOUNT)
            ]
        ),
        price_micros=_prices(rng),
    )  # fmt: skip


def _companies(count: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    pairs = rng.permutation(len(_FIRST) * len(_SECOND))
    names = []
    for number in range(count):
        pair = int(pairs[number % len(pairs)])
        again = number // len(pairs)
        name = f"{_FIRST[pair % len(_FIRST)]} {_SECOND[pair // len(_FIRST)]}"
        names.append(f"{name} {again + 1}" if again else name)
    return names, [name.translate(_ASCII).lower().replace(" ", "-") for name in names]


def _parents(count: int, rng: np.random.Generator) -> np.ndarray:
    """A forest of at most three levels: a parent always stands on one of the upper two."""
    parents = np.full(count, -1)
    depth = np.zeros(count, int)
    for number in range(1, count):
        above = int(rng.integers(number))
        if rng.random() < 0.6 and depth[above] < 2:
            parents[number] = above
            depth[number] = depth[above] + 1
    return parents


def _senders(slugs: list[str], rng: np.random.Generator) -> tuple[pa.Array, pa.Array]:
    """The company's addresses; of a channel's three the first has no number to answer to."""
    senders: list[str] = []
    types: list[str | None] = []
    for slug in slugs:
        word = slug.replace("-", "")[:11].upper()
        title = slug.replace("-", " ").title()
        digits = rng.integers(10_000_000, size=len(channels.CHANNELS))
        for channel, number in zip(channels.CHANNELS, digits.tolist(), strict=True):
            if channel.errors == channels.TELCO:
                senders += [word, f"0{number % 10_000:04d}", f"999840{number:07d}"]
                long = ("VIRTUAL_LONG_NUMBER", "10DLC", "TOLL_FREE_NUMBER")[number % 3]
                types += ["ALPHANUMERIC", "SHORT_CODE", long]
            elif channel.address == channels.MAILBOX:
                senders += [
                    f"{title} <news@{slug}.example.com>",
                    f"billing@{slug}.example.com",
                    f'"{title}, No Reply" <no-reply@Mail.{slug}.example.net>',
                ]
                types += [None, "DOMAIN", None]
            elif channel.address == channels.PHONE:
                senders += [f"999000{number:07d}", f"999001{number:07d}", f"@{slug}"]
                types += [None, channel.code, "BUSINESS_PROFILE"]
            else:
                senders += [f"page-{number}", f"{slug}-{channel.code.lower()}", f"@{slug}"]
                types += [None, channel.code, "PAGE"]
    return pa.array(senders), pa.array(types)


def _prices(rng: np.random.Generator) -> np.ndarray:
    base = channels.column("price_micros")[:, None]
    factors = np.array([country.price for country in COUNTRIES])
    factors *= rng.uniform(0.9, 1.1, len(COUNTRIES))
    everywhere = channels.column("address", int) == channels.PHONE
    prices = np.where(everywhere[:, None], base * factors, base).astype(np.int64)
    # Price lists round to a tenth of a thousandth of a cent, except where prices are tiny.
    return np.where(prices > 100_000, prices // 100 * 100, prices)
