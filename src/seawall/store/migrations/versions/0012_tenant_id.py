"""The verified tenant, by one statement. Functions only: they stand in `store/functions`."""

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise RuntimeError("Seawall's schema only goes forward; restore a backup instead")
