"""Write `reference/cli.md` from the commands themselves: `python docs/cli_reference.py`."""

from collections.abc import Iterator
from pathlib import Path

import click
from transhash_cli.group import cli

PAGE = Path(__file__).parent / "reference" / "cli.md"
_HEAD = """# Commands

Every command of `th`, as its `--help` prints it. [Exit codes](../exit-codes.md) are the same for all of them.
"""


def page() -> str:
    """Return the page: a heading and the help text for the group and for each command."""
    sections = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in _helps(cli, None, "th")]
    return "\n".join([_HEAD, *sections])


def _helps(command: click.Command, parent: click.Context | None, name: str) -> Iterator[tuple[str, str]]:
    """Yield the full name and the help text of a command and of those below it."""
    with click.Context(command, parent=parent, info_name=name, terminal_width=100) as context:
        context.help_option_names = ["-h", "--help"]
        yield context.command_path, command.get_help(context)
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                yield from _helps(found, context, child)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
