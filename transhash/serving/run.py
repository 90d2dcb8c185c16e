"""Start the service: `th serve`."""

import ipaddress
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from ..errors import ServingError
from ..system.arguments import check_range, checked
from ..system.files import display

PORT = 7700
_SHORTEST_TOKEN = 16  # characters of a token
_PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
_PACKAGES |= {"prometheus_client": "prometheus-client", "send2trash": "send2trash"}


@checked
def serve(
    locations: str | Path | Sequence[str | Path],
    *,
    images: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = PORT,
    token_file: str | Path | None = None,
    origins: Sequence[str] = (),
    model: str | Path | None = None,
    allow_trash: bool = False,
    open_browser: bool = False,
    on_ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve indexes over HTTP, with a page to search and browse them, until SIGINT or SIGTERM arrives.

    Requests that have begun are then answered, for at most 30 seconds. An index that is replaced on disk meanwhile
    is served as soon as it has been verified. Needs ``pip install 'transhash[serve]'``.

    Args:
        locations: index folders or collections on a server, one or several.
        images: the folder of the images; by default the one that was encoded.
        host: the address to listen on. Any other than 127.0.0.1, ::1 and localhost needs a token.
        port: the port; 0 for any free one.
        token_file: file whose first line is the token that clients must send, at least 16 characters.
        origins: other sites whose pages may read the answers, such as ``https://photos.example.org``.
        model: the file of the hasher, if it has moved since the images were encoded.
        allow_trash: whether clients may move image files to the trash of the system.
        open_browser: whether to open the page in a browser.
        on_ready: called with the address of the page when the server answers.

    Raises ServingError if a package is missing, the address is taken, it is open to others without a token, or no
    temporary directory is writable; what `transhash.open` raises for an index that cannot be opened.
    """
    _check_installed()
    check_range(0, 65535, port=port)
    token = "" if token_file is None else read_token(token_file)
    if not token and not is_loopback(host):
        raise ServingError(
            f"{host}: other machines could read the images; protect them: --token-file FILE (token_file=)"
        )
    _check_temporary()
    from .engine import Engine
    from .http import server
    from .http.metrics import Metrics
    from .http.service import Service

    listening = server.listen(host, port)
    with listening:
        metrics = Metrics()
        places = [locations] if isinstance(locations, str | Path) else list(locations)
        with Engine(places, images=images, model=model, monitor=metrics) as engine:
            address = _address(host, listening.getsockname()[1])
            hosts = frozenset({host.lower(), "localhost", "127.0.0.1", "::1"}) if is_loopback(host) else frozenset()
            service = Service(engine, metrics, token, tuple(origins), allow_trash, hosts)

            def ready() -> None:
                engine.warm_up()
                on_ready(address)
                if open_browser:
                    webbrowser.open(f"{address}#token={quote(token)}" if token else address)

            server.run(service, listening, ready)


def _check_temporary() -> None:
    """Raise ServingError if no temporary directory is writable: torch needs one when the first image is encoded."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise ServingError(
            "no temporary directory is writable; set TMPDIR to one, or in a read-only container: --tmpfs /tmp"
        ) from None


def read_token(path: str | Path) -> str:
    """Return the first line of a token file. Raises ServingError if the line is not a token."""
    try:
        with open(path, encoding="utf-8") as file:
            token = file.readline(1 << 12).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"{display(path)}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ServingError(
            f"{display(path)}: a token is {_SHORTEST_TOKEN} or more ASCII characters on the first line; "
            "make one: openssl rand -hex 32"
        )
    return token


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def _check_installed() -> None:
    missing = [package for module, package in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise ServingError(f"serving needs {', '.join(missing)}; install it with: pip install 'transhash[serve]'")
