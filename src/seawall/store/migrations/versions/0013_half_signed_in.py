"""Sign-ins that wait for the choice of a tenant are found by their person."""

from seawall.store.script import run_script

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    raise RuntimeError("Seawall's schema only goes forward; restore a backup instead")
