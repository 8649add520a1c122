"""`seawall check`: the judge's own command. It knows nothing of this library; only this line brings the two
together.
"""

from seawall_check.cli import EPILOG, check

__all__ = ["EPILOG", "check"]
