"""Bodies of results as files: written whole or not at all, dropped when their time is over."""

import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from endpoint.asynchronous.ledger import RESULT_SECONDS

_DRAFT = ".draft"


class Results:
    """The results of one installation, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, request_id: str) -> Path:
        """Where the result of a request is, once it has ended."""
        return self._folder / f"{request_id}.json"

    def write(self, request_id: str, pieces: Iterable[bytes]) -> None:
        """Put a result there, or another in its place; when this returns no crash can lose it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.path(request_id)
        draft = path.with_suffix(f".{secrets.token_hex(4)}{_DRAFT}")
        try:
            with draft.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except Exception:
            # A disk that is full does not become any emptier by half a result.
            draft.unlink(missing_ok=True)
            raise
        _sync(self._folder)

    def drop_drafts(self) -> None:
        """Drop what killed processes have left half written; nobody may be writing."""
        for path in self._folder.glob(f"*{_DRAFT}"):
            path.unlink(missing_ok=True)

    def drop_old(self, still_needed: Iterable[str]) -> None:
        """Drop the results whose time is over, but for those of these requests."""
        kept = {self.path(request_id).name for request_id in still_needed}
        limit = time.time() - RESULT_SECONDS
        for path in self._folder.glob("*.*"):
            if path.name not in kept and path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
