"""Serve indexes to many clients at once.

`engine.Engine` answers queries from any thread, without HTTP: it gathers concurrent ones into batches and replaces an
index that was changed on disk between two batches. `http` puts an HTTP interface and a page in front of it.
"""
