"""Encoding: an image source and a hasher in, codes out; in memory or into a resumable file."""
