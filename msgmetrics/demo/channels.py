"""How each channel behaves in the demo: its share, its outcomes, its delays, its engagement.

Invented figures, chosen to look plausible side by side. The codes are those that a landing
record may carry; what a code means to a metric is no business of this package.
"""

from typing import NamedTuple

import numpy as np

PHONE, MAILBOX, HANDLE = range(3)
"""How a channel addresses the end user: by number, by email address, by an opaque handle."""

TELCO, MAIL, CHAT = range(3)
"""Which family of errors and statuses a channel draws from."""

OUTCOMES = (
    "DELIVERED",
    "UNDELIVERABLE",
    "EXPIRED",
    "REJECTED",
    "SOFT_BOUNCE",
    "HARD_BOUNCE",
    "DROPPED",
    "NONE",
)


class Channel(NamedTuple):
    """One channel. Shares are fractions of 1; the outcome NONE takes what the others leave."""

    code: str
    share: float
    address: int
    errors: int
    talk: float  # share of contacts that become a conversation of several messages
    inbound: float  # share of lone messages that come from the end user
    outcomes: tuple[float, ...]  # in the order of OUTCOMES; mail has all, the others four
    delivery_seconds: float  # median
    spread: float  # of the delivery time, as the sigma of a lognormal
    accepted: float  # share with an ACCEPTED event
    sent: float  # share with a SENT event
    seen: float  # share of delivered messages that are seen or opened
    clicked: float  # share of seen ones that are clicked; of delivered ones where none is seen
    price_micros: int  # millionths of a cent a segment, before the country's factor


CHANNELS = (
    Channel("SMS", 0.41, PHONE, TELCO, 0.03, 0.04, (0.925, 0.032, 0.014, 0.010),
            3.4, 1.2, 0.40, 0.70, 0, 0.035, 2_450_000),
    Channel("EMAIL", 0.23, MAILBOX, MAIL, 0.01, 0.015,
            (0.940, 0.003, 0.004, 0.008, 0.013, 0.011, 0.016),
            5.2, 1.3, 0.65, 0.55, 0.31, 0.17, 8_512),
    Channel("WHATSAPP", 0.115, PHONE, CHAT, 0.16, 0.06, (0.935, 0.031, 0.005, 0.014),
            1.7, 0.9, 0.30, 0.80, 0.72, 0.06, 4_137_500),
    Channel("VIBER", 0.035, PHONE, CHAT, 0.12, 0.05, (0.90, 0.055, 0.025, 0.006),
            2.2, 1.0, 0.20, 0.70, 0.63, 0.05, 1_780_250),
    Channel("RCS", 0.035, PHONE, CHAT, 0.14, 0.06, (0.91, 0.050, 0.020, 0.008),
            2.6, 1.0, 0.20, 0.70, 0.58, 0.08, 2_210_125),
    Channel("MMS", 0.022, PHONE, TELCO, 0.02, 0.04, (0.91, 0.050, 0.020, 0.010),
            8.0, 1.1, 0.20, 0.70, 0, 0.03, 6_890_000),
    Channel("NL", 0.016, PHONE, TELCO, 0, 0, (0.97, 0.020, 0, 0.006),
            0.8, 0.6, 0, 0, 0, 0, 310_400),
    Channel("EMAILVALID", 0.014, MAILBOX, MAIL, 0, 0, (0.96, 0.025, 0, 0.008),
            1.1, 0.7, 0, 0, 0, 0, 41_300),
    Channel("FB", 0.013, HANDLE, CHAT, 0.28, 0.16, (0.965, 0.020, 0, 0.008),
            1.2, 0.8, 0, 0.40, 0.76, 0, 500_000),
    Channel("IM", 0.012, HANDLE, CHAT, 0.28, 0.16, (0.960, 0.022, 0, 0.010),
            1.2, 0.8, 0, 0.40, 0.78, 0.04, 500_000),
    Channel("TELEGRAM", 0.012, HANDLE, CHAT, 0.24, 0.12, (0.970, 0.018, 0, 0.004),
            0.9, 0.8, 0, 0.40, 0.74, 0.06, 350_000),
    Channel("VIBERBOTS", 0.010, HANDLE, CHAT, 0.28, 0.16, (0.955, 0.025, 0.004, 0.006),
            1.4, 0.8, 0, 0.40, 0.69, 0.05, 640_750),
    Channel("KAKAOA", 0.012, PHONE, CHAT, 0, 0, (0.950, 0.032, 0.004, 0.008),
            1.5, 0.8, 0.10, 0.30, 0, 0.04, 720_000),
    Channel("KAKAOC", 0.009, PHONE, CHAT, 0, 0, (0.935, 0.045, 0.004, 0.008),
            1.5, 0.8, 0.10, 0.30, 0.52, 0.07, 1_430_000),
    Channel("KAKAOS", 0.008, PHONE, CHAT, 0.30, 0.18, (0.960, 0.022, 0.003, 0.006),
            1.3, 0.8, 0, 0.30, 0.71, 0.03, 880_000),
    Channel("LINELNS", 0.010, PHONE, CHAT, 0, 0, (0.945, 0.035, 0.006, 0.008),
            1.6, 0.8, 0.10, 0.30, 0, 0.04, 1_120_000),
    Channel("LINEOA", 0.011, HANDLE, CHAT, 0.24, 0.12, (0.960, 0.024, 0.002, 0.006),
            1.2, 0.8, 0, 0.40, 0.73, 0.05, 940_000),
    Channel("ZALONS", 0.010, PHONE, CHAT, 0, 0.01, (0.930, 0.045, 0.008, 0.010),
            1.9, 0.9, 0.10, 0.30, 0.57, 0.05, 830_500),
    Channel("APPLECB", 0.009, HANDLE, CHAT, 0.30, 0.18, (0.965, 0.020, 0, 0.006),
            1.1, 0.7, 0, 0.40, 0.70, 0, 450_000),
)  # fmt: skip

CODES = [channel.code for channel in CHANNELS]
NUMBER = {code: number for number, code in enumerate(CODES)}


def column(field: str, dtype: type = float) -> np.ndarray:
    """One field of all channels, indexed by channel number."""
    return np.array([getattr(channel, field) for channel in CHANNELS], dtype)


def outcome_thresholds() -> np.ndarray:
    """Cumulated outcome shares, one row a channel, one column for each of OUTCOMES but NONE."""
    shares = np.zeros((len(CHANNELS), len(OUTCOMES) - 1))
    for number, channel in enumerate(CHANNELS):
        shares[number, : len(channel.outcomes)] = channel.outcomes
    return shares.cumsum(axis=1)


TRAFFIC_TYPES = (
    "UTILITY_CONVERSATION",
    "AUTHENTICATION_CONVERSATION",
    "MARKETING_CONVERSATION",
    "SERVICE_CONVERSATION",
    "BASIC_TRANSACTION_BASED_MESSAGE",
    "SINGLE_TRANSACTION_BASED_MESSAGE",
    "A2P_CONVERSATION",
    "P2A_CONVERSATION",
)
