"""The verified tenant, by one statement."""

from seawall.store.script import run_script

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    raise RuntimeError("Seawall's schema only goes forward; restore a backup instead")
