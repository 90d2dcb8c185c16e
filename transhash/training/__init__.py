"""Training the TransHash hasher end to end: `config`, `data`, `objectives`, `learner` (a step), `loop` (a run)."""
