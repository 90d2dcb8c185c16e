"""Training, fitting and averaging hashers: `run` has the public functions, `loop` the run, `learner` a step."""
