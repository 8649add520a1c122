"""Shared by the tests: a real PostgreSQL and throw-away databases."""
