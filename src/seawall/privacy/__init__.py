"""privacy: personal data that even the whole database does not give away.

Columns declared `Sealed[…]` (`store.sealed`) are encrypted under keys of their tenant. Here are the keys: the process's
keyring (`Ring`), what keeps it informed, rotation, crypto-shredding, and the gate that looks at the models.
"""
