"""Data sets and protocols, one module each."""
