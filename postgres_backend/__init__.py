"""PostgreSQL with pgvector: a table for each collection. See ``docs/postgres.md``."""

from .collection import PostgresCollection

__all__ = ["PostgresCollection"]
