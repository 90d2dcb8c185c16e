"""The group of all commands. A command's module is imported only when it runs, so that `th --help` is fast."""

from importlib import import_module

import click

from transhash import __version__

from . import render

_SUMMARIES = {
    "train": "Train a hasher on labelled images.",
    "fit": "Fit a hasher to images without labels.",
    "soup": "Average hashers that were trained from the same start.",
    "shrink": "Store a hasher's weights in fewer bytes.",
    "export": "Write a hasher to an ONNX file.",
    "hub": "Share a hasher on the Hugging Face Hub.",
    "encode": "Encode images into a codes file.",
    "codes": "Inspect, check, join and convert codes files.",
    "index": "Build, inspect, tune and change search indexes.",
    "query": "Find the images in an index that are most similar to the queries.",
    "dedup": "Find near-duplicates.",
    "serve": "Serve indexes over HTTP, with a page to search and browse them.",
    "eval": "Measure retrieval with labelled queries.",
    "protocol": "Split images as in published evaluations.",
    "demo": "Train, encode, index, query and evaluate on 1,797 digits.",
}
_FUNCTIONS = {"eval": "evaluate"}  # commands whose function has another name


class _Commands(click.Group):
    """A group that imports a command, from the module with its name, only when it is requested."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the commands are used."""
        return list(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _SUMMARIES:
            return None
        command: click.Command = getattr(
            import_module(f".{cmd_name}", __package__), _FUNCTIONS.get(cmd_name, cmd_name)
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and summaries, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="th")
@click.option("-q", "--quiet", is_flag=True, help="Print only answers and errors, without progress and notes.")
def cli(quiet: bool) -> None:
    """Find similar images with codes of 8 to 1,024 bits per image.

    \b
    Near-duplicates, without any training:
        th encode ~/Pictures -o codes.h5
        th index build codes.h5 -o photos.index
        th query photos.index cat.jpg

    \b
    Learned codes: start with th train. th demo shows all steps on a small data set.
    """
    render.use_quiet(quiet)
