"""Run plain SQL files, in the transaction that is open.

Functions in PL/pgSQL read best as SQL, and one file of many statements needs PostgreSQL's simple protocol, which
asyncpg offers on its own connection only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import op
from sqlalchemy import Connection, text


def run_script(revision_file: str) -> None:
    """Execute the `.sql` file beside a revision's `.py` file, within the migration's transaction."""
    run_sql(op.get_bind(), Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8"))


def run_sql(connection: Connection, script: str) -> None:
    """Execute many statements, within the connection's transaction."""
    connection.execute(text("SELECT 1"))  # the adapter says BEGIN before its own first statement, and sees none of ours
    adapted: Any = connection.connection.dbapi_connection
    adapted.run_async(lambda raw: raw.execute(script))
