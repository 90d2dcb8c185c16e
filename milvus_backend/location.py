"""The location of a collection: ``milvus://HOST:PORT/NAME``, or ``milvus+https://…`` under TLS."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from transhash.errors import BackendError

_SCHEMES = {"milvus": "http", "milvus+https": "https"}
_PORT = 19530
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")  # what Milvus takes


@dataclass(frozen=True)
class Location:
    """A server's address as pymilvus takes it, ``http://HOST:PORT`` or ``https://HOST:PORT``, and a collection."""

    uri: str
    name: str

    @classmethod
    def of(cls, uri: str, name: str) -> Self:
        """Check an address and a name. Raises BackendError, whose message never contains a password."""
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in _SCHEMES.values():
            raise BackendError("not the address of a Milvus server; expected milvus://HOST:PORT/NAME")
        if parts.username is not None or parts.password is not None:
            raise BackendError(
                "pass no user name or password in the address; set MILVUS_TOKEN, or MILVUS_USER and MILVUS_PASSWORD"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise BackendError(f"{parts.scheme}://{parts.netloc}: only a collection's name may follow the address")
        if not _NAME.fullmatch(name):
            raise BackendError(
                f"collection {name!r}: a name has letters, digits and underscores, and does not start with a digit"
            )
        host = f"[{host}]" if ":" in host else host
        return cls(f"{parts.scheme}://{host}:{port or _PORT}", name)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text that `str` returns. Raises BackendError."""
        scheme, _, rest = text.partition("://")
        address, _, name = rest.partition("/")
        if scheme not in _SCHEMES or not name:
            raise BackendError(
                "not a Milvus collection; expected milvus://HOST:PORT/NAME or milvus+https://HOST:PORT/NAME"
            )
        return cls.of(f"{_SCHEMES[scheme]}://{address}", name)

    def __str__(self) -> str:
        """Return the location as text, which the command line takes in place of an index folder."""
        scheme, _, address = self.uri.partition("://")
        return f"{'milvus' if scheme == 'http' else 'milvus+https'}://{address}/{self.name}"
