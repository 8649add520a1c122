"""Tenants, people, sessions, the verified context, admission, audit events, jobs."""

from seawall.store.script import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    raise RuntimeError("the foundation is not taken away under live tenants; restore a backup instead")
