"""Superset's settings beside the published file; found by SUPERSET_CONFIG_PATH.

Read by Superset alone, in its own environment.
"""

import os
from pathlib import Path

# Superset's own metadata: users, datasets, saved charts.
_HOME = Path(os.environ.get("SUPERSET_HOME", Path.home() / ".superset")).absolute()
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_HOME / 'superset.db'}?check_same_thread=false"
SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
# Results are not kept: a chart shows the snapshot that is published when it is asked for.
DATA_CACHE_CONFIG = {"CACHE_TYPE": "NullCache"}
TALISMAN_ENABLED = False  # it asks for HTTPS, which a proxy in front of Superset is for


def DB_CONNECTION_MUTATOR(uri, params, username, security_manager, source):  # noqa: N802
    """Opens DuckDB files read-only, anew for each query, and by the name behind the stable one.

    Superset opens a connection for each query (SQLAlchemy's NullPool), so the next query after a
    publication reads the new file. DuckDB shares what is open in a process by its path: were it
    the stable name, queries that overlap without end would hold on to the old file.
    """
    if uri.get_backend_name() == "duckdb" and uri.database:
        uri = uri.set(database=os.path.realpath(uri.database))
        params["connect_args"] = {**params.get("connect_args", {}), "read_only": True}
    return uri, params
