# Commands for development. `just` comes from a package manager, or: pip install rust-just

_default:
    @just --list

# Everything that CI runs, in a fresh environment
check:
    .ci/run

# All tests, or those in some files: just test tests/codes
test *arguments:
    pytest -q {{arguments}}

# The quick tests of every room: less than a minute
test-fast *arguments:
    pytest -q -m "not slow" {{arguments}}

# All tests, and the lines that they do not run
coverage *arguments:
    pytest -q --cov --cov-report=term-missing:skip-covered {{arguments}}

# Lint, formatting, types
lint:
    ruff check .
    ruff format --check .
    mypy

# The documentation, into site/; `just docs serve` shows it while you write
docs command="build":
    python docs/cli_reference.py
    mkdocs {{command}} --strict

# A benchmark: just bench search --small
bench *arguments:
    python -m benchmarks {{arguments}}
