"""Run a plain SQL file from an Alembic revision.

Functions in PL/pgSQL read best as SQL, and one file of many statements needs PostgreSQL's simple protocol, which
asyncpg offers on its own connection only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import op


def run_script(revision_file: str) -> None:
    """Execute the `.sql` file beside a revision's `.py` file, within the migration's transaction."""
    script = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    adapted: Any = op.get_bind().connection.dbapi_connection
    adapted.run_async(lambda connection: connection.execute(script))
