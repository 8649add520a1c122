"""Seawall's own schema, as Alembic revisions. An app's revisions live in the app's `migrations` folder."""
