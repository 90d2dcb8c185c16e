# Commands of development. `just` comes with a package manager, or: pip install rust-just

# What CI runs, in a fresh environment
check:
    .ci/run

# All tests, or those of some files: just test tests/codes
test *paths:
    pytest -q {{paths}}

lint:
    ruff check .
    ruff format --check .
    mypy
