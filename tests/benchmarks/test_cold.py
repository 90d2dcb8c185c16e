"""The benchmark of single commands."""

import pytest


@pytest.mark.slow
def test_commands_are_timed_beside_a_bare_python(invoke):
    done = invoke("cold", "--rounds", "1", "--model", "phash")
    assert done.exit_code == 0, done.output
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows == ["command", "python -c pass", "th --help", "th query, phash"]
