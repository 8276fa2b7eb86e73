"""Page cursors: opaque texts that only this installation can issue.

A cursor is a signed record. What a route puts into it is the route's business; that it comes back
unchanged, to the key it was given to, is settled here. All workers share one secret file.
"""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from itsdangerous import BadData, URLSafeSerializer


class Cursors:
    """Issues and reads cursors under the secret in a file, which is made if it is not there."""

    def __init__(self, secret_path: Path) -> None:
        self._serializer = URLSafeSerializer(
            secret_of(secret_path),
            salt="page-cursor",
            signer_kwargs={"digest_method": hashlib.sha256},
        )

    def issue(self, purpose: str, key_id: str, pinned: dict[str, Any]) -> str:
        """A cursor that this key can bring back for this purpose. Same arguments, same text."""
        return self._serializer.dumps([purpose, key_id, pinned])

    def read(self, text: str, purpose: str, key_id: str) -> dict[str, Any] | None:
        """What was pinned when the cursor was issued to this key for this purpose, else None."""
        try:
            payload = self._serializer.loads(text)
        except BadData:
            return None
        # The last letter of base64 has spare bits: other spellings of a good signature are
        # refused as well.
        if self._serializer.dumps(payload) != text:
            return None
        issued_for, holder, pinned = payload
        return pinned if (issued_for, holder) == (purpose, key_id) else None


def secret_of(path: Path) -> bytes:
    """The installation's secret; workers that start side by side all get the same one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            # A link appears whole or not at all, and never replaces another worker's secret.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(draft)
    return path.read_bytes()
