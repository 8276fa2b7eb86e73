"""The dbt project as Dagster sees it: its manifest, its environment, and the names of its assets.

Asset key = schema / name, group = folder = schema. What to run of the project, and when, stands in
`assets/warehouse.py`.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject

from msgmetrics.catalogue import catalogue
from msgmetrics.settings import PROJECT_ROOT, Settings
from orchestration.warehouse import enough_memory, machine_mebibytes

PROFILES_DIR = PROJECT_ROOT / "dbt_project"
# Of what finds the touched messages, these say what becomes of one, too.
_MODELS_OF_OUTCOMES = ("carriable_messages", "repeated_events", "repeated_messages")
_MACROS_OF_OUTCOMES = (
    "carried_outcomes",
    "durations",
    "email_domain",
    "latest_version",
    "source_rank",
)
# Bytes of the file: some three million messages before anything is made of them.
_SMALL_WAREHOUSE = 768 * 2**20
# Data tests that read every row of every mart, whatever a run touched.
NIGHTLY_TAG = "agreement"


def dbt_environment(settings: Settings) -> dict[str, str]:
    """The variables through which dbt learns of our settings."""
    most = machine_mebibytes()
    return {
        "MSGMETRICS_WAREHOUSE": str(settings.warehouse_path),
        "MSGMETRICS_WAREHOUSE_THREADS": str(settings.warehouse_threads),
        "MSGMETRICS_MODELS_AT_ONCE": str(_models_at_once(settings)),
        "MSGMETRICS_WAREHOUSE_MEMORY": settings.memory or f"{most}MiB",
        # What is computed anew altogether takes memory by its size, where nobody says how much.
        "MSGMETRICS_MOST_MEBIBYTES": "" if settings.memory else str(most),
        "MSGMETRICS_BATCH_MEMORY": enough_memory(settings),
        "MSGMETRICS_CURRENCY": settings.currency,
        "MSGMETRICS_DEFINITION": definition_of_outcomes(settings),
        "DBT_TARGET_PATH": str(settings.dbt_target),
        "DBT_LOG_PATH": str(settings.dbt_target / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        # To note every statement, twice and at length, takes a good part of a small build.
        "DBT_LOG_LEVEL_FILE": "info",
    }


def _models_at_once(settings: Settings) -> int:
    """In a small warehouse as many as there are threads; in another one after the other.

    A model over few rows leaves DuckDB's threads idle, and its statement is shorter than what dbt
    does around it. One over many rows uses them all, and the memory.
    """
    path = settings.warehouse_path
    is_small = not path.exists() or path.stat().st_size < _SMALL_WAREHOUSE
    return settings.warehouse_threads if is_small else 1


def definition_of_outcomes(settings: Settings) -> str:
    """Fingerprint of all that says what becomes of a message: where it changes, all are restated.

    Not of error codes, of which a changed row restates its messages alone, nor of marts, which each
    know their own definition.
    """
    project = settings.dbt_project_dir
    files = [
        *sorted((project / "models" / "staging").glob("stg_[ems]*.sql")),
        *sorted((project / "models" / "facts").glob("*.sql")),
        *(project / "models" / "restatement" / f"{name}.sql" for name in _MODELS_OF_OUTCOMES),
        *(project / "macros" / f"{name}.sql" for name in _MACROS_OF_OUTCOMES),
        *(PROJECT_ROOT / "seeds" / f"{name}.csv" for name in ("drop_reasons", "event_types")),
    ]
    buckets = [(bucket.name, bucket.seconds) for bucket in catalogue().time_buckets.values()]
    known = hashlib.sha256(repr((settings.currency, buckets)).encode())
    for path in files:
        code = [line.strip() for line in path.read_text("utf-8").splitlines()]
        known.update("\n".join(line for line in code if line and line[:2] != "--").encode())
    return known.hexdigest()


def fingerprint_of_project(settings: Settings) -> str:
    """Of all that a build is made by: models, macros, catalogue, reference data, currency."""
    known = hashlib.sha256(settings.currency.encode())
    for path in _files_of_project(settings):
        known.update(path.name.encode() + path.read_bytes())
    return known.hexdigest()


def _files_of_project(settings: Settings) -> list[Path]:
    return sorted(
        path
        for folder in (settings.dbt_project_dir, PROJECT_ROOT / "seeds")
        for path in folder.rglob("*")
        if path.suffix in (".sql", ".yml", ".md", ".csv")
    )


def dbt_executable() -> str:
    """The dbt command of this environment, which need not be on the PATH."""
    beside_python = Path(sys.executable).with_name("dbt")
    return str(beside_python) if beside_python.exists() else "dbt"


def dbt_project(settings: Settings) -> DbtProject:
    os.environ.update(dbt_environment(settings))
    return DbtProject(
        project_dir=settings.dbt_project_dir,
        profiles_dir=PROFILES_DIR,
        target_path=settings.dbt_target,
    )


def current_manifest(settings: Settings) -> Path:
    """The project's manifest, parsed anew where any of its files is younger.

    Of several processes that begin together one parses, and the others wait for it. Nobody reads
    half a manifest, whenever a process ends.
    """
    manifest = settings.dbt_target / "manifest.json"
    if not _is_current(manifest, settings):
        settings.dbt_target.mkdir(parents=True, exist_ok=True)
        with (settings.dbt_target / "parse.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_current(manifest, settings):
                _parse(settings)
    return manifest


def _is_current(manifest: Path, settings: Settings) -> bool:
    newest = max(path.stat().st_mtime for path in _files_of_project(settings))
    return manifest.exists() and manifest.stat().st_mtime >= newest


def _parse(settings: Settings) -> None:
    from dbt.cli.main import dbtRunner

    os.environ.update(dbt_environment(settings))
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    folder, began = settings.dbt_target / "parsed", time.time()
    result = dbtRunner().invoke(
        [
            *("parse", "--quiet", "--project-dir", str(settings.dbt_project_dir)),
            *("--profiles-dir", str(PROFILES_DIR), "--target-path", str(folder)),
        ]
    )
    if not result.success:
        raise RuntimeError(f"the dbt project does not parse: {result.exception}")
    # dbt writes them piece by piece. The manifest comes last: it says that all are there.
    for name in ("partial_parse.msgpack", "manifest.json"):
        whole = shutil.copy(folder / name, settings.dbt_target / f".{name}")
        os.utime(whole, (began, began))  # a file that was changed meanwhile is younger
        os.replace(whole, settings.dbt_target / name)


def drop_old_artefacts(settings: Settings, keep: int = 20) -> None:
    """Removes what dbt left of earlier runs, logs included, but for the latest `keep`."""
    folders = sorted(settings.dbt_target.glob("build-*"), key=lambda path: path.stat().st_mtime)
    for folder in folders[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)


class Translator(DagsterDbtTranslator):
    """Names and groups of dbt's nodes as assets."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """dbt itself stops where a test fails, so Dagster need not look for the result of each."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return None if spec is None else spec._replace(blocking=False)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return dbt_resource_props["schema"]
