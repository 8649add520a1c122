"""Sealing what the ORM has pending on its way to the database, and searching by blind index."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.util import await_only

from seawall.core.scope import Scope
from seawall.core.sealing import TenantKeys
from seawall.core.vault import VaultUnavailable
from seawall.store.sealed import BLIND_SUFFIX, LEASE, doors_of


class SealingSession(Session):
    """The ORM session of a lease. What is pending in sealed columns is sealed before anything is flushed."""


@sa.event.listens_for(SealingSession, "before_flush")
def _seal_pending(session: Session, flush_context: Any, instances: Any) -> None:
    waiting = [
        (instance, door, cell)
        for instance in (*session.new, *session.dirty)
        for door in doors_of(type(instance))
        if (cell := instance.__dict__.get(door.key)) is not None and cell.envelope is None
    ]
    for instance in session.dirty:
        _check_identity(instance)
    if not waiting:
        return
    # before_flush runs in the session's greenlet, as the driver's own calls do
    keys: TenantKeys = await_only(session.info[LEASE].sealing_keys(len(waiting)))
    for instance, door, cell in waiting:
        cell.envelope = door.sealed(keys, door.identity_for(instance), cell.plain)
        if door.find is not None:
            setattr(instance, f"{door.key}{BLIND_SUFFIX}", door.blind(keys, cell.plain))


def _check_identity(instance: Any) -> None:
    for door in doors_of(type(instance))[:1]:
        key = sa.inspect(instance).key
        if key is not None and door.identity_of(instance) not in key[1]:
            raise TypeError(f"the id of a {type(instance).__name__} cannot change: its sealed values are bound to it")


async def equal(scope: Scope, attribute: Any, value: str) -> ColumnElement[bool]:
    """A condition for rows whose sealed value equals this one, after `find` has normalised both.

        await visible.all(await equal(scope, Order.phone, "+1 555 0100"))

    Raises:
        TypeError: the column has no blind index. VaultUnavailable, KeyDestroyed: there is no key.
    """
    model = attribute.class_
    door = next((one for one in doors_of(model) if one.key == attribute.key), None)
    if door is None:
        raise TypeError(f"{model.__name__}.{attribute.key} is not sealed: compare it with ==")
    normal = door.normal(value)
    keys = await (await scope.transaction()).keys()
    if keys is None:
        raise VaultUnavailable()
    found: ColumnElement[bool] = getattr(model, f"{door.key}{BLIND_SUFFIX}").in_(keys.blinds(door.label, normal))
    return found
