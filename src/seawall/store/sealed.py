"""`Sealed[str]`: a column that is encrypted under the tenant's key before it leaves the process.

    class Order(Tenanted):
        id: Mapped[UUID] = object_id()
        address: Mapped[Sealed[str]]
        phone: Mapped[Sealed[str] | None] = sealed(find=digits)     # also found by equality, through a blind index

`order.address` is plain text to whoever has the object, and is opened at that moment; a row that nobody reads costs
nothing. In the database it is `bytea`, bound to its tenant, table, column and row (`core.sealing`). Which keys open it
is decided by the transaction that loaded it, not by the row: another tenant's row would not open even if it came.

A plain value cannot reach the database by any way: what binds parameters takes envelopes only.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_origin
from uuid import UUID

import orjson
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import InstrumentedAttribute, Mapper, mapped_column
from sqlalchemy.types import LargeBinary, TypeDecorator
from sqlalchemy.util import await_only

from seawall.core.errors import Refused, Unprocessable
from seawall.core.ids import new_uuid7
from seawall.core.sealing import SEALED_MAX_BYTES, Label, SealBroken, TenantKeys
from seawall.core.vault import VaultUnavailable

T = TypeVar("T")
Normalise = Callable[[str], str]

FIND = "seawall_find"
"""In a column's `info`: how a value is normalised before its blind index is made."""
NOT_PERSONAL = "seawall_not_personal"
BLIND_OF = "seawall_blind_of"
BLIND_SUFFIX = "_blind"
WHY_LENGTH_MIN = 8
LEASE = "seawall_lease"
"""In the `info` of a session: the lease that it rides on."""
sealed_models: set[type[Any]] = set()
"""Every model with sealed columns."""
_log = structlog.get_logger("seawall.store")

_CODECS: dict[type, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    str: (lambda value: value.encode(), lambda plain: plain.decode()),
    bytes: (bytes, bytes),
    bool: (lambda value: b"1" if value else b"0", lambda plain: plain == b"1"),
    int: (lambda value: b"%d" % value, int),
    datetime.date: (lambda value: value.isoformat().encode(), lambda p: datetime.date.fromisoformat(p.decode())),
    datetime.datetime: (
        lambda value: value.isoformat().encode(),
        lambda plain: datetime.datetime.fromisoformat(plain.decode()),
    ),
    dict: (orjson.dumps, orjson.loads),
    list: (orjson.dumps, orjson.loads),
}
_NAMED = {kind.__name__: kind for kind in _CODECS}


_SEALED: Any = object()


class Cell:
    """What the ORM holds of a sealed value: the envelope from the database and the keys of the transaction that loaded
    it, or a plain value still to be sealed.
    """

    __slots__ = ("envelope", "keys", "plain")

    def __init__(self, envelope: bytes | None, keys: TenantKeys | None = None, plain: Any = _SEALED) -> None:
        self.envelope = envelope
        self.keys = keys
        self.plain = plain

    @property
    def opened(self) -> bool:
        return self.plain is not _SEALED

    def __repr__(self) -> str:
        return "<sealed>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cell):
            return NotImplemented
        if self.opened and other.opened:
            return type(self.plain) is type(other.plain) and bool(self.plain == other.plain)
        return self.envelope is not None and self.envelope == other.envelope

    __hash__ = None  # type: ignore[assignment]  # it changes when it is sealed


class SealedType(TypeDecorator[Any]):
    """The column type behind `Sealed[…]`; `python_type` is what the app sees."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, python_type: type) -> None:
        super().__init__()
        self.plain_type = python_type
        self.encode, self.decode = _CODECS[python_type]

    @property
    def python_type(self) -> type:
        return self.plain_type

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self

    def compare_values(self, x: Any, y: Any) -> bool:
        return bool(x == y)

    def process_bind_param(self, value: Any, dialect: Any) -> bytes | None:
        if value is None:
            return None
        if isinstance(value, Cell) and value.envelope is not None:
            return value.envelope
        raise TypeError(
            "a sealed column takes no plain value here: change it through its object (`order.address = …`) and search"
            " it with `await equal(scope, Order.phone, …)`"
        )

    def process_result_value(self, value: Any, dialect: Any) -> Cell | None:
        return None if value is None else Cell(value)


if TYPE_CHECKING:
    Sealed = Annotated[T, "sealed"]
else:

    class Sealed:
        """`Sealed[T]`, for T one of str, bytes, bool, int, date, datetime, dict[str, …] and list[…] (JSON).

        To type checkers and to whoever reads the attribute it is T.

        Raises:
            Refused: for another T.
        """

        def __class_getitem__(cls, kind: Any) -> Any:
            name = kind if isinstance(kind, str) else getattr(get_origin(kind) or kind, "__name__", "")
            # under `from __future__ import annotations` SQLAlchemy quotes what stands inside: Sealed["dict[str, Any]"]
            plain = _NAMED.get(name.partition("[")[0].rpartition(".")[2])
            if plain is None:
                raise Refused(
                    f"Sealed[{name or kind}] is not a type that can be sealed",
                    why="a value is encrypted as bytes, and must come back as what it was",
                    fix=f"use one of {', '.join(one.__name__ for one in _CODECS)}, e.g. Sealed[str]",
                )
            return Annotated[plain, mapped_column(SealedType(plain))]


def sealed(*, find: Normalise | None = None, **kwargs: Any) -> Any:
    """A sealed column with more to say: `phone: Mapped[Sealed[str]] = sealed(find=digits)`.

    Args:
        find: how a text is normalised before it is compared, such as `str.casefold`. The model then gets a second
            column `<name>_blind` (bytea, indexed with the tenant), which tells whoever reads the database which rows
            of a tenant have *equal* values, and no more.
        kwargs: passed to `mapped_column`.
    """
    info = dict(kwargs.pop("info", {}))
    if find is not None:
        info[FIND] = find
    return mapped_column(info=info, **kwargs)


def not_personal(why: str, **kwargs: Any) -> Any:
    """Say why a column whose name sounds personal may be read by everybody who reads the database.

    Raises:
        Refused: when `why` says nothing.
    """
    if len(why.strip()) < WHY_LENGTH_MIN:
        raise Refused(
            f"not_personal({why!r}) gives no reason",
            why="plain text is the exception, and an exception says why",
            fix='not_personal("a venue\'s own address is on its door")',
        )
    return mapped_column(info={**kwargs.pop("info", {}), NOT_PERSONAL: why}, **kwargs)


class Door:
    """The class attribute of a sealed column: plain values to the outside, cells to the ORM."""

    def __init__(self, inner: InstrumentedAttribute[Any], table: str, identity_key: str) -> None:
        self.inner = inner
        self.key = inner.key
        self.type: SealedType = inner.property.columns[0].type
        self.column = inner.property.columns[0].name
        self.label = Label(table, self.column)
        self.find: Normalise | None = inner.property.columns[0].info.get(FIND)
        self._identity_key = identity_key

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self.inner
        cell = instance.__dict__.get(self.key) or self.inner.__get__(instance, owner)
        if cell is None:
            return None
        plain = cell.plain
        if plain is _SEALED:
            if cell.keys is None:
                raise VaultUnavailable()
            plain = cell.plain = self.opened(cell.keys, self.identity_of(instance), cell.envelope)
        return plain

    def __set__(self, instance: Any, value: Any) -> None:
        if value is None:
            self.inner.__set__(instance, None)
            if self.find is not None:
                setattr(instance, f"{self.key}{BLIND_SUFFIX}", None)
            return
        if not isinstance(value, self.type.plain_type) or (
            isinstance(value, bool | datetime.datetime) and type(value) is not self.type.plain_type
        ):
            raise TypeError(f"{self.label.text} takes {self.type.plain_type.__name__}, not {type(value).__name__}")
        self.inner.__set__(instance, Cell(None, None, value))

    def __delete__(self, instance: Any) -> None:
        self.inner.__delete__(instance)

    def identity_of(self, instance: Any) -> UUID:
        """The row's id."""
        identity: UUID = getattr(instance, self._identity_key)
        return identity

    def identity_for(self, instance: Any) -> UUID:
        """The row's id, made now when the row is new."""
        identity: UUID | None = getattr(instance, self._identity_key)
        if identity is None:
            identity = new_uuid7()
            setattr(instance, self._identity_key, identity)
        return identity

    def opened(self, keys: TenantKeys, identity: UUID, envelope: bytes) -> Any:
        """The plain value of a cell.

        Raises:
            SealBroken: with an alert in the log. VaultUnavailable, KeyDestroyed: there is no key.
        """
        try:
            return self.type.decode(keys.open(self.label, identity.bytes, envelope))
        except SealBroken as broken:
            _log.error("seal-broken", alert=True, column=self.label.text, object_id=str(identity), reason=broken.reason)
            raise SealBroken(self.label.text, identity, broken.reason) from None

    def sealed(self, keys: TenantKeys, identity: UUID, value: Any) -> bytes:
        """The envelope of a plain value."""
        return keys.seal(self.label, identity.bytes, self.plain_bytes(value))

    def blind(self, keys: TenantKeys, value: str) -> bytes:
        """The blind index of a value under the current key."""
        return keys.blind(self.label, self.normal(value))

    def normal(self, value: str) -> bytes:
        if self.find is None:
            raise TypeError(f"{self.label.text} has no blind index: declare it with `sealed(find=…)`")
        return self.find(value).encode()

    def plain_bytes(self, value: Any) -> bytes:
        plain = self.type.encode(value)
        if len(plain) > SEALED_MAX_BYTES:
            raise Unprocessable("A value is too long to be stored.")
        return plain


def doors_of(model: type[Any]) -> tuple[Door, ...]:
    """The sealed columns of a model."""
    doors: tuple[Door, ...] = model.__dict__.get("__seawall_doors__", ())
    return doors


def hang_doors(model: type[Any]) -> None:
    """Put a `Door` before every sealed column of a freshly mapped class. Called by `Tenanted`.

    Raises:
        Refused: the model's id is not a UUID, or a blind index is asked for what is not text.
    """
    table = model.__dict__["__table__"]
    sealed_columns = [column for column in table.columns if isinstance(column.type, SealedType)]
    if not sealed_columns:
        return
    own = [column for column in table.primary_key.columns if column.name != "tenant_id"]
    if len(own) != 1 or not isinstance(own[0].type, sa.Uuid):
        raise Refused(
            f"{model.__name__} has sealed columns, but not one id that is a UUID",
            why="a sealed value is bound to its row's id, which must be known before the row is written",
            fix="id: Mapped[UUID] = object_id()",
        )
    mapper: Mapper[Any] = sa.inspect(model)
    doors = []
    for column in sealed_columns:
        if column.primary_key or column.unique or column.index or column.foreign_keys:
            raise Refused(
                f"{model.__name__}.{column.name} is sealed and a key or indexed",
                why="equal values have different envelopes, so no index or key over them can work",
                fix=f"{column.name}: Mapped[Sealed[str]] = sealed(find=str.casefold), and `await equal(scope, …)`",
            )
        if column.default is not None or column.server_default is not None:
            raise Refused(
                f"{model.__name__}.{column.name} is sealed and has a default",
                why="a default is put in where it could not be sealed any more",
                fix=f"{column.name}: Mapped[Sealed[str] | None], and set it in the code that makes the row",
            )
        if FIND in column.info and column.type.plain_type is not str:
            raise Refused(
                f"{model.__name__}.{column.name} has a blind index, but is no text",
                why="what is compared must have one normal form",
                fix="seal a str, or leave `find` out",
            )
        key = mapper.get_property_by_column(column).key
        if FIND in column.info:
            blind: Any = mapped_column(LargeBinary, nullable=column.nullable, info={BLIND_OF: key}, repr=False)
            setattr(model, f"{key}{BLIND_SUFFIX}", blind)
            sa.Index(None, table.c.tenant_id, table.c[f"{key}{BLIND_SUFFIX}"])
        inner: Any = mapper.class_manager[key]
        door = Door(inner, table.name, mapper.get_property_by_column(own[0]).key)
        # past the declarative class's own __setattr__, which would map it as a new column
        type.__setattr__(model, key, door)
        doors.append(door)
    type.__setattr__(model, "__seawall_doors__", tuple(doors))
    sealed_models.add(model)
    for moment in ("load", "refresh"):
        sa.event.listen(model, moment, _loaded)


def _loaded(instance: Any, context: Any, *_: Any) -> None:
    """Give a row that the ORM has loaded the keys of its transaction."""
    lease = context.session.info.get(LEASE)
    if lease is None:
        return
    cells = [
        cell
        for door in doors_of(type(instance))
        if (cell := instance.__dict__.get(door.key)) is not None and cell.envelope is not None
    ]
    keys: TenantKeys | None = lease.known_keys
    if keys is not None and not all(keys.knows(cell.envelope) for cell in cells):
        keys = await_only(lease.keys([cell.envelope for cell in cells]))
    for cell in cells:
        cell.keys = keys
