"""The process that `apart` starts to read a file."""

from .apart import serve

serve()
