"""The location of a collection: ``postgresql://[USER@]HOST[:PORT]/DATABASE/NAME[?sslmode=…]``."""

import os
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from transhash.errors import BackendError, one_line

CATALOG = "transhash_collections"

_SCHEMES = ("postgresql", "postgres")
_FORM = "postgresql://HOST/DATABASE/NAME"
_LONGEST = 63  # bytes of a name; PostgreSQL cuts longer ones
_WAIT = {  # seconds to connect, and milliseconds until unacknowledged data count as a lost connection
    "connect_timeout": ("PGCONNECT_TIMEOUT", "10"),
    "tcp_user_timeout": ("PGTCP_USER_TIMEOUT", "60000"),
}


@dataclass(frozen=True)
class Location:
    """A database and a collection in it.

    Attributes:
        text: the location as it was given; it holds no secret.
        conninfo: what libpq connects to.
        name: of the collection, which is its table's.
    """

    text: str
    conninfo: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a location. Raises BackendError, without repeating what may be a password."""
        scheme, _, rest = text.partition("://")
        address, question, options = rest.partition("?")
        host, _, path = address.partition("/")
        parts = path.split("/")
        if scheme not in _SCHEMES or not parts[-1] or len(parts) > 2:
            raise BackendError(f"a collection in PostgreSQL is {_FORM}")
        name = _name(parts[-1])
        database = parts[0] if len(parts) == 2 else ""
        given = _libpq(f"postgresql://{host}/{database}{question}{options}")
        secret = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"}
        if secret & given.keys():
            raise BackendError(
                "the location contains a password that others can see; use PGPASSWORD, ~/.pgpass or a service file"
            )
        if not (given.get("dbname") or given.get("service") or {"PGDATABASE", "PGSERVICE"} & os.environ.keys()):
            raise BackendError(f"{scheme}://{address}: names no database; a collection in PostgreSQL is {_FORM}")
        waits = {key: value for key, (variable, value) in _WAIT.items() if variable not in os.environ}
        return cls(text, make_conninfo("", **{**waits, "application_name": "transhash", **given}), name)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return self.text


def _name(quoted: str) -> str:
    """Return a collection's name. Raises BackendError if no table can have it."""
    try:
        name = unquote(quoted, errors="strict")
        size = len(name.encode())
    except UnicodeError:
        raise BackendError(f"collection {quoted!r}: not UTF-8") from None
    if "\0" in name or size > _LONGEST or name == CATALOG:
        raise BackendError(
            f"collection {name[:_LONGEST]!r}: PostgreSQL takes names of up to {_LONGEST} bytes, without NUL; "
            f"{CATALOG} is taken"
        )
    return name


def _libpq(uri: str) -> dict[str, str]:
    """Return libpq's parameters of a URI. Raises BackendError; libpq's own message may repeat the password."""
    try:
        return {key: str(value) for key, value in conninfo_to_dict(uri).items() if value is not None}
    except Error as error:
        detail = "" if "@" in uri or "password" in uri.lower() else f" ({one_line(error)})"
        raise BackendError(f"not an address that libpq understands{detail}; write {_FORM}") from None
