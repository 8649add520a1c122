"""Declaring sealed columns: what is refused, and where it is refused."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, configure_mappers, mapped_column

from seawall import Sealed, Tenanted, not_personal, object_id, sealed
from seawall.core.errors import Refused
from seawall.privacy.boot import PERSONAL_NAME, check_models
from seawall.store.sealed import SealedType, doors_of


class Kept(Tenanted):
    __tablename__ = "declared_kept"
    id: Mapped[UUID] = object_id()
    email: Mapped[Sealed[str]] = sealed(find=str.casefold)
    born: Mapped[Sealed[datetime.date] | None]
    notes: Mapped[Sealed[dict[str, Any]] | None]
    street: Mapped[str]
    address: Mapped[str] = not_personal("a venue's own address is on its door")


def test_types_and_nullability() -> None:
    columns = Kept.__table__.columns
    assert isinstance(columns["email"].type, SealedType)
    assert columns["email"].type.python_type is str
    assert columns["born"].type.python_type is datetime.date
    assert (columns["email"].nullable, columns["born"].nullable) == (False, True)
    assert not columns["email_blind"].nullable
    assert [door.key for door in doors_of(Kept)] == ["email", "born", "notes"]
    assert any([c.name for c in index.columns] == ["tenant_id", "email_blind"] for index in Kept.__table__.indexes)
    configure_mappers()
    check_models([Kept])


def test_a_new_object_shows_plain_values_and_its_repr_does_not() -> None:
    one = Kept(email="Ada@Quill.example", street="x", address="y")
    assert one.email == "Ada@Quill.example"
    assert one.born is None
    assert "Ada" not in repr(one.__dict__["email"])


class Base(DeclarativeBase):
    """Not `Tenanted`: what is refused here must not be found by apps that start in this process."""


def _model(name: str, *, base: type[Any] = Tenanted, **columns: Any) -> type[Any]:
    annotations = {key: kind for key, (kind, _) in columns.items()}
    values = {key: value for key, (_, value) in columns.items() if value is not None}
    body = {"__tablename__": f"declared_{name}", "__annotations__": {"id": Mapped[UUID]} | annotations, **values}
    body.setdefault("id", object_id())
    return type(name, (base,), body)


def test_types_that_cannot_be_sealed() -> None:
    for kind in (float, UUID, object, "Decimal"):
        with pytest.raises(Refused, match="a type that can be sealed"):
            Sealed[kind]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "kind", "column", "what"),
    [
        ("indexed", Mapped[Sealed[str]], lambda: mapped_column(index=True), "a key or indexed"),
        ("unique", Mapped[Sealed[str]], lambda: mapped_column(unique=True), "a key or indexed"),
        ("default", Mapped[Sealed[str]], lambda: mapped_column(default=""), "has a default"),
        ("server", Mapped[Sealed[str]], lambda: mapped_column(server_default=""), "has a default"),
        ("blind_int", Mapped[Sealed[int]], lambda: sealed(find=str.casefold), "is no text"),
    ],
)
def test_what_cannot_work_is_refused(name: str, kind: Any, column: Any, what: str) -> None:
    with pytest.raises(Refused, match=what):
        _model(name, value=(kind, column()))


def test_an_id_that_is_not_known_in_time_is_refused() -> None:
    with pytest.raises(Refused, match="not one id that is a UUID"):
        _model("serial", id=(Mapped[int], mapped_column(primary_key=True)), value=(Mapped[Sealed[str]], None))


@pytest.mark.parametrize(
    "name",
    ["address", "email", "e_mail", "phone", "phone_number", "billing_address", "address_line1", "first_name", "iban",
     "contact_email", "date_of_birth", "birthday", "recipient", "mobile_no"],
)  # fmt: skip
def test_names_that_are_personal(name: str) -> None:
    assert PERSONAL_NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name",
    ["name", "title", "street", "status", "number", "email_verified", "addressed_at", "description", "phones_max"],
)
def test_names_that_are_not(name: str) -> None:
    assert not PERSONAL_NAME.fullmatch(name)


def test_personal_data_in_plain_text_refuses_to_start() -> None:
    plain = _model("plain_phone", base=Base, phone=(Mapped[str], None))
    with pytest.raises(Refused, match=r"plain_phone\.phone holds personal data"):
        check_models([plain])
    declared = _model("plain_nick", base=Base, nick=(Mapped[str], None))
    check_models([declared])
    declared.__personal__ = ("nick",)
    with pytest.raises(Refused, match=r"plain_nick\.nick"):
        check_models([declared])
    declared.__personal__ = ("absent",)
    with pytest.raises(Refused, match="which is no column"):
        check_models([declared])
    with pytest.raises(Refused, match="gives no reason"):
        not_personal("  x ")
