"""`th demo`."""

import shlex
import shutil
import time
from pathlib import Path

import click

from . import options, render

_MARK = ".th-demo"
_WRAP = 85  # characters after which a command is continued on the next line
_SHOWN = 2  # queries that the demo answers on the terminal
_TRAINING = (
    "--backbone test_vit --image-size 32 --patch-size 16 --stride 4 --groups 4 "  # timm's smallest transformer
    "--loss transhash --epochs 60 --batch-size 50 --lr 1e-3 --schedule cosine --ema 0 "
    "--precision fp32 --validation 0 --crop 0.9 --flip 0 --jitter 0"  # a mirrored digit is another sign
)


@click.command()
@click.option(
    "-o",
    "--output",
    type=options.Output(),
    default="th-demo",
    show_default=True,
    help="Folder to work in; one that an earlier demo left is emptied.",
)
def demo(output: Path) -> None:
    """Run the whole way on 1,797 handwritten digits: train, encode, index, query, evaluate, report.

    \b
    Example:
        th demo

    Takes a minute or two on two cores and downloads nothing. Prints every command it runs, for you to repeat.
    """
    from transhash.errors import SourceError

    try:
        import jinja2  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise SourceError(f"the demo needs {error.name}; install it with: pip install 'transhash[demo]'") from None

    from transhash.datasets import digits

    started = time.perf_counter()
    _clean(output)
    images = output / "images"
    render.note(f"writing the digits to {images}/")
    parts = digits.split(digits.write(images))
    for name, paths in vars(parts).items():
        (output / f"{name}.txt").write_text("\n".join(paths) + "\n")

    hasher, codes, queries, index = (
        output / name for name in ("hasher.safetensors", "codes.h5", "queries.h5", "digits.index")
    )
    asked = [images / path for path in parts.queries[:: len(parts.queries) // _SHOWN]][:_SHOWN]
    commands = [
        ["train", images, "-o", hasher, "--list", output / "training.txt", "--bits", 64, *_TRAINING.split()],
        ["encode", images, "-o", codes, "--force", "--list", output / "database.txt", "--model", hasher],
        ["encode", images, "-o", queries, "--force", "--list", output / "queries.txt", "--model", hasher],
        ["index", "build", codes, "-o", index],
        ["index", "info", index],
        ["query", index, *asked, "-k", 5, "--sheet", output / "matches.png"],
        ["eval", codes, "--queries", queries],
    ]
    spelled = [_run(command) for command in commands]

    from . import demo_compare, demo_report

    render.note("comparing with float embeddings and a perceptual hash")
    report = output / "report.html"
    results = demo_compare.compare(images, output / "queries.txt", output / "database.txt", hasher, index)
    demo_report.write(report, results, spelled, time.perf_counter() - started)
    render.line()
    render.table(
        ("method", "bytes per image", "mAP@all"),
        [(method.name, method.bytes, f"{method.mean_ap:.4f}") for method in results.methods],
    )
    render.line()
    render.line("The commands above work by hand, too. The report, with pictures:")
    render.line(str(report.absolute()))


def _clean(output: Path) -> None:
    """Make the demo's folder, empty; what an earlier demo left there goes, anything else stays untouched."""
    if (output / _MARK).is_file():
        render.note(f"{output}: left by an earlier demo; starting clean")
        shutil.rmtree(output)
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise click.UsageError(f"{output}: exists and was not made by th demo; choose another folder with -o")
    output.mkdir(exist_ok=True)
    (output / _MARK).touch()


def _spell(words: list[str]) -> str:
    """Spell a command for a shell, in lines that a screen can hold."""
    lines = [""]
    for word in map(shlex.quote, words):
        if word.startswith("-") and len(lines[-1]) > _WRAP:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def _run(arguments: list[object]) -> str:
    """Run a command of `th` in this process, as the shell would, and return how it is spelled."""
    cli = click.get_current_context().find_root().command
    words = [str(argument) for argument in arguments]
    spelled = _spell(["th", *words])
    render.line()
    for number, part in enumerate(spelled.splitlines()):
        render.line(part if number else f"$ {part}")
    cli.main(words, prog_name="th", standalone_mode=False)
    return spelled
