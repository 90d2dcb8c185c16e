"""The command `th`. Heavy imports stand inside the commands' bodies: help must come at once."""
