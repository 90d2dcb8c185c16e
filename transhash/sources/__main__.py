"""The process that `apart` starts to read a file."""

from .isolated import serve

serve()
