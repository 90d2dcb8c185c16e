"""Training the TransHash hasher end to end: `config`, `data`, `objective`, `loop`."""
