"""What stands in the landing zone, as one short text: whether anything came is seen without reading
a file. How files are listed and read lives in `loading/`.
"""

import hashlib
from pathlib import Path

from orchestration.loading.landing import list_landing

# Under this name a load tells, in its metadata, what stood there when it began.
LANDING_STATE = "landing_state"


def landing_state(landing: Path) -> str:
    """A digest of the names, sizes, times and inodes of all landing files; nothing is read.

    Raises UserError where there is no landing zone.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in list_landing(landing).files:
        digest.update(repr((file.name, file.state)).encode())
    return digest.hexdigest()
