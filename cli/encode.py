"""`th encode`."""

from collections import Counter
from pathlib import Path

import click

from . import options, render


@click.command()
@options.IMAGES
@click.option("-o", "--output", type=options.Output(), required=True, help="Codes file to write (HDF5).")
@click.option("--model", required=True, help="A hasher made by th train, or phash for near-duplicates.")
@options.LIST
@click.option("--batch-size", type=click.IntRange(1, 4096), default=32, show_default=True, help="Images at a time.")
def encode(images: Path, output: Path, model: str, names: Path | None, batch_size: int) -> None:
    """Encode the images under IMAGES into a codes file.

    \b
    Examples:
        th encode photos/ -o codes.h5 --model hasher.safetensors
        th encode ~/Pictures -o codes.h5 --model phash

    A file that cannot be read is skipped and named with the reason. The first folder on the way to an image is its
    label, unless a --list gives zeros and ones for its classes. The codes file appears when it is complete, and
    replaces one that stood there.
    """
    from transhash import codes, encoding
    from transhash.hashers import load_hasher

    from . import source

    codes.check_replaceable(output)
    hasher = load_hasher(model)
    found = source.find(images, names)
    render.skipped([(item.path, item.reason) for item in found.skipped])
    with render.progress(len(found.images), "images") as bar:

        def show(batch: encoding.Batch) -> None:
            bar.update(len(batch.files) + len(batch.skipped))
            if batch.skipped:
                bar.clear()
                render.skipped([(item.path, item.reason) for item in batch.skipped])

        rows, skipped = encoding.encode_to_file(found, hasher, output, batch_size, show)
    reasons = Counter(item.reason.partition(":")[0] for item in skipped)
    detail = "".join(f"; {count} {reason}" for reason, count in reasons.most_common())
    render.note(
        f"wrote {output}: {rows} codes of {hasher.ref.bits} bits, "
        f"{output.stat().st_size / rows:.1f} bytes an image on disk; {len(skipped)} skipped{detail}"
    )
