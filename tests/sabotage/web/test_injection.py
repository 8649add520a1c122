"""web/injection, broken on purpose: once in each language."""

from __future__ import annotations

import pytest

CLEAN_ROUTE = '@router.get("/venues")\nasync def list_venues(venues: VisibleVenues) -> list[VenueView]:\n'
GLUED_SQL = """@router.get("/venues")
async def list_venues(venues: VisibleVenues, scope: Scope, q: str = "") -> list[VenueView]:
    transaction = await scope.transaction()
    await transaction.fetch(f"SELECT id FROM app.venues WHERE name = '{q}'")
"""


@pytest.mark.prove
async def test_sql_glued_from_a_query_parameter(sabotage) -> None:
    await sabotage("web/injection", edit={"api.py": (CLEAN_ROUTE, GLUED_SQL)}, trips={"web/injection"})


@pytest.mark.prove
@pytest.mark.parametrize(
    "broken",
    [
        "import jinja2, functools; from seawall.web import pages\n"
        "class Loose(jinja2.Environment):\n"
        "    def __init__(self, **options): super().__init__(**{**options, 'autoescape': False})\n"
        "pages.jinja2.Environment = Loose",
        "from seawall.identity import sign_in; sign_in.own_path = lambda value: value or '/'",
    ],
    ids=["no-escaping", "open-redirect"],
)
async def test_text_that_becomes_part_of_something(sabotage, broken) -> None:
    await sabotage("web/injection", python=broken, trips={"web/injection"})


LOGGING_ROUTE = {
    "api.py": (
        "    venue = Venue(name=body.name, street=body.street)\n",
        "    venue = Venue(name=body.name, street=body.street)\n"
        # not as an argument, which would be redacted before it could be forged
        '    __import__("logging").getLogger("shop").warning("opening " + body.name)\n',
    )
}


@pytest.mark.prove
async def test_log_lines_that_callers_forge(sabotage) -> None:
    python = "from seawall.web import logs\nlogs.escaped = lambda value: value"
    await sabotage("web/injection", python=python, edit=LOGGING_ROUTE, trips={"web/injection"})
