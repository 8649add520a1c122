"""web/errors, broken on purpose."""

from __future__ import annotations

import pytest


async def test_the_text_of_an_exception_is_told(sabotage) -> None:
    await sabotage(
        "web/errors",
        python="""
from seawall.web import errors

errors._told_http = lambda error: errors.Told(error.status_code, "refused", "Refused", str(error.detail))
""",
        trips={"web/errors"},
    )


@pytest.mark.prove
@pytest.mark.parametrize(
    "broken",
    [
        # pydantic's own errors quote the input
        "errors._fields = lambda found: [{'input': str(one.get('input')), 'type': '', 'loc': []} for one in found]",
        # the log forgets where it happened
        "from seawall.web import logs; logs.stack_of = lambda error, messages: []",
        # a database's words go out
        "errors._told_database = lambda error: errors.Told(500, 'internal', 'Broken', str(error))",
        # the number to quote is missing
        "made = errors.problem; errors.problem = lambda p, w: {k: v for k, v in made(p, w).items() if k != 'trace_id'}",
    ],
    ids=["echo", "no-stack-in-log", "database-text", "no-trace-id"],
)
async def test_an_answer_that_says_too_much_or_a_log_too_little(sabotage, broken) -> None:
    await sabotage("web/errors", python=f"from seawall.web import errors\n{broken}", trips={"web/errors"})
