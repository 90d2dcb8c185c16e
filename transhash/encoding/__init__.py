"""Encode images into codes, in memory or into a resumable codes file."""
