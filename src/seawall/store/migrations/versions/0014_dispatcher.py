"""Jobs are claimed by a role of their own."""

from seawall.store.script import run_script

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    raise RuntimeError("Seawall's schema only goes forward; restore a backup instead")
