"""Copies and erasures of people who asked an operator, by letter. Functions only: they stand in `store/functions`."""

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise RuntimeError("Seawall's schema only goes forward; restore a backup instead")
