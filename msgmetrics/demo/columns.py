"""Columns of numbers: the form that records have between being invented and being written.

Home of the type, of what is done to whole tables of it, and of the ids that are derived from it.
What the columns mean is said where they are made (`traffic`, `funnel`).
"""

import numpy as np
import pyarrow as pa

Columns = dict[str, np.ndarray]

MISSING = -1

_HEX = np.frombuffer("".join(f"{i:02x}" for i in range(256)).encode(), np.uint8).reshape(256, 2)
_UUID_DIGITS = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])


def size(columns: Columns) -> int:
    """Number of rows."""
    return len(next(iter(columns.values())))


def take(columns: Columns, rows: np.ndarray) -> Columns:
    """The given rows (indices or a mask), in that order."""
    return {name: values[rows] for name, values in columns.items()}


def concat(tables: list[Columns]) -> Columns:
    """The rows of all tables, which have the same columns."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def scramble(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A one-to-one map of 64-bit numbers that looks random: unique in, unique out."""
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def message_ids(ordinals: np.ndarray, first_sent_us: np.ndarray, seed: int) -> pa.Array:
    """Ids in the form of a version 7 UUID: the millisecond, then the scrambled ordinal."""
    mixed = scramble(ordinals, seed)
    high = (first_sent_us // 1000).astype(np.uint64) << np.uint64(16)
    # All 64 bits of the ordinal are kept, around the bits that the form fixes: ids stay unique.
    high |= np.uint64(0x7000) | (mixed >> np.uint64(62))
    low = (mixed & np.uint64(2**62 - 1)) | np.uint64(2**63)
    digits = _hex_digits(np.stack([high, low], axis=1))
    text = np.full((len(ordinals), 36), ord("-"), np.uint8)
    text[:, _UUID_DIGITS] = digits
    return _fixed_width(text)


def event_ids(ordinals: np.ndarray, places: np.ndarray, seed: int) -> pa.Array:
    """Ids of the events of messages; `places` (0 to 63) tells the events of a message apart."""
    mixed = scramble(ordinals * 64 + places, seed + 1)
    text = np.empty((len(ordinals), 20), np.uint8)
    text[:, :4] = np.frombuffer(b"evt-", np.uint8)
    text[:, 4:] = _hex_digits(mixed[:, None])
    return _fixed_width(text)


def _hex_digits(words: np.ndarray) -> np.ndarray:
    octets = np.ascontiguousarray(words.astype(">u8")).view(np.uint8)
    return _HEX[octets].reshape(len(words), words.shape[1] * 16)


def _fixed_width(text: np.ndarray) -> pa.Array:
    rows, width = text.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))
