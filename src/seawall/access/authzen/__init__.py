"""AuthZEN: the app's policies as a decision point that other programs may ask (OpenID Authorization API 1.0).

questions.py    what is asked, read from JSON and bounded
point.py        the answers: evaluation, evaluations, search
directory.py    whom and what a question names, from the server's own facts
routes.py       the HTTP endpoints, and who may ask about whom
"""

from __future__ import annotations

from seawall.access.authzen.point import DecisionPoint
from seawall.access.authzen.routes import AuthZen

__all__ = ["AuthZen", "DecisionPoint"]
