"""A customer database of some depth, for tests: teams, accounts, contacts, deals, notes and exports.

`models.py` and `policies/` are what an app would have; `rows.py` fills them with generated rows and people.
"""
