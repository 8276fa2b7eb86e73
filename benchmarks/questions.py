"""Questions of dashboards, in process and over HTTP: `load.py`, for as long as a table needs."""

import json
import subprocess
import sys
from pathlib import Path

from msgmetrics.settings import PROJECT_ROOT

_CLIENTS = "1,8,64"


def ask_questions(home: Path, seconds: int) -> dict:
    """What `python -m benchmarks.load --json` tells of the published file of this home."""
    process = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.load", "--json", "--home", str(home)),
            *("--clients", _CLIENTS, "--seconds", str(seconds), "--turns", "2"),
        ],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(process.stdout)
