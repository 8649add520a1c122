"""Before the first request: is what is personal sealed, in the models and in the database?

A column is personal when its name says so, or when its model declares it (`__personal__`). Such a column that is not
sealed refuses to start, unless its author says why everybody may read it: `not_personal("a venue's own address")`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from seawall.core.errors import Refused
from seawall.privacy.subjects import personal_map
from seawall.store.sealed import BLIND_OF, BLIND_SUFFIX, NOT_PERSONAL, SealedType, doors_of
from seawall.store.walls import APP_SCHEMA

WORDS: Final = (
    "address", "addressee", "birth_?(day|date)", "born", "date_of_birth", "driving_licen[cs]e", "e_?mail", "fax",
    "(first|last|family|given|full|maiden)_name", "iban", "id_card", "mobile", "national_id", "passport", "phone",
    "recipient", "social_security.*", "ssn", "surname", "tax_id",
)  # fmt: skip
PERSONAL_NAME: Final = re.compile(rf"(.*_)?({'|'.join(WORDS)})(_(number|no|line_?\d?|text))?")

_TYPES = """
SELECT c.relname AS "table", a.attname AS "column", format_type(a.atttypid, NULL) AS type
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = to_regnamespace($1) AND c.relname = ANY ($2) AND a.attnum > 0 AND NOT a.attisdropped
"""


def check_models(models: Iterable[type[Any]]) -> None:
    """Every personal column of these models is sealed, and every model with sealed columns says whose they are.

    Raises:
        Refused: naming the first one that is not, and how to seal it.
    """
    models = list(models)
    personal_map(model for model in models if doors_of(model))
    for model in models:
        mapper = sa.inspect(model)
        declared = frozenset(getattr(model, "__personal__", ()))
        for name in declared - set(mapper.column_attrs.keys()):
            raise Refused(
                f"{model.__name__}.__personal__ names {name!r}, which is no column",
                why="a declaration that nothing matches protects nothing",
                fix="correct the name, or take it out",
            )
        for attribute in mapper.column_attrs:
            column = attribute.columns[0]
            if isinstance(column.type, SealedType) or not isinstance(column, sa.Column) or BLIND_OF in column.info:
                continue
            by_name = PERSONAL_NAME.fullmatch(attribute.key) is not None and isinstance(
                column.type, sa.String | sa.Date | sa.JSON | sa.LargeBinary
            )
            if attribute.key in declared or (by_name and not column.info.get(NOT_PERSONAL)):
                raise Refused(
                    f"{model.__name__}.{attribute.key} holds personal data in plain text",
                    why="whoever gets a dump, a backup or a replica of the database would read it",
                    fix=f"{attribute.key}: Mapped[Sealed[str]], and `bytea` in its migration; or, if everybody may know"
                    f' it, {attribute.key}: Mapped[str] = not_personal("why")',
                )


async def check_columns(connection: Any, models: Iterable[type[Any]]) -> list[type[Any]]:
    """Every sealed column is `bytea` in the database, with its blind index beside it.

    Args:
        connection: asyncpg's, as any role.
        models: those with sealed columns.

    Returns:
        The models whose tables are there.

    Raises:
        Refused: naming the columns that are not.
    """
    by_table = {model.__table__.name: model for model in models}
    types: dict[str, dict[str, str]] = {}
    for row in await connection.fetch(_TYPES, APP_SCHEMA, sorted(by_table)):
        types.setdefault(row["table"], {})[row["column"]] = row["type"]
    wrong = []
    for table, columns in sorted(types.items()):
        doors = doors_of(by_table[table])
        wanted = [door.column for door in doors]
        wanted += [f"{door.key}{BLIND_SUFFIX}" for door in doors if door.find is not None]
        wrong += [
            f"{APP_SCHEMA}.{table}.{name} is {columns.get(name, 'missing')}"
            for name in wanted
            if columns.get(name) != "bytea"
        ]
    if wrong:
        raise Refused(
            f"sealed columns need the type bytea: {', '.join(wrong)}",
            why="what is sealed is bytes, and a column of text would be one that somebody meant to fill with text",
            fix="change the column in a migration; rows that are there are sealed by code, not by SQL",
        )
    return [by_table[table] for table in types]
