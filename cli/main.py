"""The command `th`: its group, and how errors end."""

import sys
import warnings

import click

from transhash import __version__
from transhash.errors import TransHashError

from . import render
from .codes import codes
from .dedup import dedup
from .demo import demo
from .encode import encode
from .eval import evaluate
from .fit import fit
from .index import index
from .protocol import protocol
from .query import query
from .soup import soup
from .train import train

_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="th")
def cli() -> None:
    """Find similar images with 16 to 256 bits an image.

    \b
    Near-duplicates, without any training:
        th encode ~/Pictures -o codes.h5 --model phash
        th index build codes.h5 -o photos.index
        th query photos.index cat.jpg

    \b
    Learned codes: th train first; see th demo for the whole way.
    """


for command in (train, fit, soup, encode, codes, index, query, dedup, evaluate, protocol, demo):
    cli.add_command(command)


def main() -> None:
    """Run `th`; every error becomes one line on stderr: exit code 2 for misuse, 1 for failure."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # remarks of libraries to their callers, not to who types a command
    try:
        code = cli.main(prog_name="th", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "th"
        _fail(f"{error.format_message()} (see: {command} --help)", error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except TransHashError as error:
        _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; nothing that was written before has changed", _INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone: nobody to tell, and no complaint at exit
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)
    except MemoryError:
        _fail("out of memory; use a smaller --batch-size, or a machine with more", 1)


def _fail(message: str, code: int) -> None:
    render.error(message)
    sys.exit(code)
