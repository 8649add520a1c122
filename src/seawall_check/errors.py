"""What the judge itself may have to say. A failed control is not an error; it is a verdict."""

from __future__ import annotations


class CheckError(Exception):
    """The check could not run at all (exit code 3). Says what, why and the one-line fix."""

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        parts = [what]
        if why:
            parts.append(f"  why: {why}")
        if fix:
            parts.append(f"  fix: {fix}")
        super().__init__("\n".join(parts))
        self.what = what
        self.why = why
        self.fix = fix


class DidNotStart(CheckError):
    """The app under test ended, or never became ready. `text` is what it printed, its last 8,000 characters."""

    def __init__(self, what: str, *, text: str, fix: str = "") -> None:
        super().__init__(what, why=text.strip()[-2_000:] or "it printed nothing", fix=fix)
        self.text = text


class Unproven(Exception):
    """Raised inside a control when an attempt is not possible; the control's verdict becomes `unproven`."""
