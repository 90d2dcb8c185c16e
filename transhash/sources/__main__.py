"""Entry point of the child process that `isolated` starts to read a file."""

from .isolated import serve

serve()
