"""`th hub push`."""

from pathlib import Path

import click

import transhash

from . import options, render


@click.group()
def hub() -> None:
    """Share a hasher on the Hugging Face Hub."""


@hub.command()
@click.argument("hasher", type=options.EXISTING_FILE)
@click.argument("repository")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("-m", "--message", help="Message of the commit.")
def push(hasher: Path, repository: str, private: bool, message: str | None) -> None:
    """Upload the file HASHER to a REPOSITORY, named user/name, with a model card.

    \b
    Examples:
        th hub push hasher.safetensors user/birds
        th encode photos/ -o codes.h5 --model hf://user/birds

    Creates the repository unless it exists, and keeps its model card if it has one. Prints the location, which
    includes the commit. Log in with "hf auth login", or set HF_TOKEN.
    """
    render.line(transhash.push_hasher(hasher, repository, private=private, message=message))
