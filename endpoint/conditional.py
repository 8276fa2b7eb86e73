"""ETags: what an answer is known by, and whether a client has it already."""

import hashlib
from typing import Any


def etag_of(*told: Any) -> str:
    """The tag of an answer that depends on these values and on nothing else."""
    return f'"{hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'


def holds(if_none_match: list[str], etag: str) -> bool:
    """Whether one of the If-None-Match headers names the tag, or any."""
    tags = [tag.strip().removeprefix("W/") for tag in ",".join(if_none_match).split(",")]
    return etag in tags or tags == ["*"]
