"""Run a command and turn every outcome into an exit code and at most one line on stderr."""

import errno
import os
import sys
import warnings
from collections.abc import Sequence

import click

from transhash.errors import TransHashError, one_line

from . import render
from .group import cli

DONE, FAILED, MISUSE, DEFECT, INTERRUPTED = 0, 1, 2, 70, 130

_DEBUG = "TRANSHASH_DEBUG"


def run(arguments: Sequence[str]) -> int:
    """Run `th` with arguments and return its exit code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # warnings are for users of the library, not of the command
    render.use_json("--log-json" in arguments)
    try:
        _invoke(list(arguments))
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else DONE
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return MISUSE
    except BrokenPipeError:  # the reader of the output has gone, as in `th ... | head`
        return FAILED
    except BaseException as error:
        message, code = describe(error)
        render.error(message)
        return code
    return DONE


def _invoke(arguments: list[str]) -> None:
    if "_TH_COMPLETE" in os.environ:  # a shell asks for completions
        cli.main(arguments, prog_name="th")
    with cli.make_context("th", arguments) as context:
        cli.invoke(context)


def describe(error: BaseException) -> tuple[str, int]:
    """Return the message for an error and the exit code."""
    match error:
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "th"
            return f"{error.format_message()} (see: {command} --help)", MISUSE
        case click.ClickException():
            return error.format_message(), FAILED
        case TransHashError():
            return str(error), FAILED
        case click.Abort() | KeyboardInterrupt():
            return "interrupted; files written earlier are unchanged", INTERRUPTED
        case OSError():
            return _system(error), FAILED
        case MemoryError():
            return "out of memory; use a smaller --batch-size or a machine with more memory", FAILED
    if os.environ.get(_DEBUG):
        import traceback

        traceback.print_exception(error)
    return (
        f"unexpected {type(error).__name__}: {one_line(error)}. This is a defect of TransHash: "
        f"please report it with the traceback that {_DEBUG}=1 shows",
        DEFECT,
    )


def _system(error: OSError) -> str:
    if error.errno == errno.EBADF and not error.filename:
        return "standard output is closed; nothing can be written to it"
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{where}{error.strerror or one_line(error)}"
