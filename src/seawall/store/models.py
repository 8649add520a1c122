"""`Tenanted`: the base of every table that holds tenants' rows.

    class Order(Tenanted):
        __tablename__ = "orders"
        id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
        venue_id: Mapped[UUID] = refers_to("venues")

It brings `tenant_id`, first in the primary key and filled by the database from the verified context, and turns every
`refers_to` into a foreign key that carries the tenant, so that a row can never point into another tenant.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, MetaData, text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column

from seawall.core.errors import Refused
from seawall.store.sealed import hang_doors
from seawall.store.walls import APP_SCHEMA

REFERS_TO = "seawall_refers_to"
"""In a column's info: the table whose `id` it holds."""

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


class Tenanted(DeclarativeBase):
    """A row that belongs to exactly one tenant.

    Set `__audited__ = True` (or the kind of event, such as `"payments.refund"`) and the database refuses to commit a
    change that comes without its audit event.

    Set `__subject__` to the column with the id of the person whom the sealed columns are about, `"id"` when the row is
    the person: they get a copy of them, and may have them erased.
    """

    __abstract__ = True
    metadata = MetaData(schema=APP_SCHEMA, naming_convention=NAMING)
    __audited__: ClassVar[bool | str] = False
    __subject__: ClassVar[str | None] = None

    # app code never names a tenant: the default does, from the context that the database verified
    tenant_id: Mapped[UUID] = mapped_column(
        primary_key=True, server_default=text("seawall.tenant_id()"), sort_order=-100
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        table = cls.__dict__.get("__table__")
        if table is None:
            return
        for column in list(table.columns):
            target = column.info.get(REFERS_TO)
            if target is not None:
                far = f"{APP_SCHEMA}.{target}"
                table.append_constraint(
                    ForeignKeyConstraint(["tenant_id", column.name], [f"{far}.tenant_id", f"{far}.id"])
                )
            elif column.foreign_keys:
                raise Refused(
                    f"{cls.__name__}.{column.name} is a plain ForeignKey",
                    why="a key without the tenant can point at another tenant's row",
                    fix=f'{column.name}: Mapped[UUID] = refers_to("<table>")',
                )
        hang_doors(cls)
        if cls.__audited__:
            table.info["audited"] = "" if cls.__audited__ is True else cls.__audited__


def refers_to(table: str, *, index: bool = True, **kwargs: Any) -> MappedColumn[Any]:
    """A foreign key to the `id` of another tenanted table, carrying the tenant.

    Args:
        table: the other table's name, such as `"venues"`.
        index: index the column, as most foreign keys want.
        kwargs: passed to `mapped_column`, such as `nullable=True`.
    """
    return mapped_column(info={REFERS_TO: table}, index=index, **kwargs)


def object_id() -> MappedColumn[UUID]:
    """The `id` of an object: a UUIDv7 (RFC 9562) made by the database, so that keys sort by time."""
    return mapped_column(primary_key=True, server_default=text("uuidv7()"), sort_order=-90)
