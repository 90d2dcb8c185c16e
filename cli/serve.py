"""`th serve`."""

from pathlib import Path

import click

from . import options, render


@click.command()
@click.argument("locations", metavar="INDEX...", nargs=-1, required=True, type=options.Index())
@click.option("--images", type=options.EXISTING_FOLDER, help="Folder of the images, if they have moved.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. One that other machines can reach requires --token-file.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=7700, show_default=True, help="0: any free port.")
@click.option(
    "--token-file",
    type=options.EXISTING_FILE,
    help="File whose first line is the token that clients must send; at least 16 characters.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Another site whose pages may read the answers, such as https://photos.example.org.",
)
@click.option("--model", help="File of the hasher, if it has moved, or its location on the hub.")
@click.option("--allow-trash", is_flag=True, help="Let clients move image files to the system's trash.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
def serve(
    locations: tuple[Path | str, ...],
    images: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
    origins: tuple[str, ...],
    model: str | None,
    allow_trash: bool,
    open_browser: bool,
) -> None:
    """Serve one or more indexes over HTTP, with a page to search and browse them and to sort out duplicates.

    \b
    Examples:
        th serve photos.index --open
        th serve photos.index --images /mnt/photos
        th serve photos.index --host 0.0.0.0 --token-file token.txt

    Only this machine is served unless --host says otherwise. Nothing is deleted unless --allow-trash is given. An
    index that is replaced on disk is served as soon as it has been verified. On Ctrl-C or SIGTERM, the server
    answers the open requests and exits. Needs: pip install 'transhash[serve]'.
    """
    import transhash

    transhash.serve(
        locations,
        images=images,
        host=host,
        port=port,
        token_file=token_file,
        origins=origins,
        model=model,
        allow_trash=allow_trash,
        open_browser=open_browser,
        on_ready=lambda address: render.note(f"serving at {address} (Ctrl-C ends it)"),
    )
