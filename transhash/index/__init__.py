"""The search index: build, open, search, edit, save."""
