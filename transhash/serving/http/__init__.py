"""The HTTP interface of an engine: Starlette behind uvicorn. `docs/http.md` describes every route."""
