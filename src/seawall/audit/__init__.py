"""audit: what happened, in the same transaction as the change.

`append` writes the events of a request into its own transaction; `append_as` is identity's, before there is a context;
`ReadBatch` collects ordinary allowed reads and writes them within a second.
"""

from seawall.audit.append import append, append_as
from seawall.audit.batch import ReadBatch

__all__ = ["ReadBatch", "append", "append_as"]
