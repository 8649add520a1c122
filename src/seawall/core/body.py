"""What callers send: the base of every request body."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

TEXT_LENGTH_MAX = 10_000
"""Characters in any one text field, unless the field says less."""


class Body(BaseModel):
    """A request body. Unknown fields are refused (mass assignment, ASVS 15.3.3); text is bounded, numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=TEXT_LENGTH_MAX, allow_inf_nan=False)
