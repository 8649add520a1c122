"""Sign-in transactions, second factors, step-up, throttling, the development provider's accounts."""

from seawall.store.script import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(__file__)


def downgrade() -> None:
    raise RuntimeError("second factors are not taken away under people who enrolled them; restore a backup instead")
