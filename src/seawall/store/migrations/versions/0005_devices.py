"""Device-bound sessions, known devices, risk; admission that checks them."""

from seawall.store.script import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    raise RuntimeError("Seawall's schema only goes forward; restore a backup instead")
