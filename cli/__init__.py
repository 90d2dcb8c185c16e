"""The command `th`. Heavy imports belong inside the command functions, so that help appears at once."""
