"""The benchmark beside a busy core: what happens to the process that is measured."""

import click
import pytest

from benchmarks import busy


def test_a_process_that_dies_is_named_with_its_last_words(tmp_path):
    with busy._worker("no such task", str(tmp_path), "PASSIVE", 1) as run:
        with pytest.raises(click.ClickException, match="the process that is measured ended with 1: KeyError"):
            run()
        with pytest.raises(click.ClickException, match="ended with 1"):
            run()
