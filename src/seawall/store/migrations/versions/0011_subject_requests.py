"""Copies and erasures of people who asked an operator, by letter."""

from seawall.store.script import run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    raise RuntimeError("Seawall's schema only goes forward; restore a backup instead")
