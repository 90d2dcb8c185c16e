"""The one module that connects to PostgreSQL: transactions, and errors of one line without credentials."""

import os
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg import Connection, IsolationLevel, errors, sql
from psycopg.rows import TupleRow

from transhash.errors import BackendError

from . import binary
from .location import Location

_REFUSED = "refuses the credentials; libpq takes them from PGUSER and PGPASSWORD, ~/.pgpass or a service file"
_REFUSALS = ("authentication failed", "no password supplied")  # before there is a session, errors have no code
_LOCK_WAIT = "60s"  # time to wait for another writer, unless the role or the database sets another
_PAGE = 10_000  # rows fetched at a time
_WAIT_FOR_LOCKS = "SELECT set_config('lock_timeout', %s, true) WHERE current_setting('lock_timeout') = '0'"
_MESSAGE_LENGTH = 300  # characters of what the server says
_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (errors.LockNotAvailable, "another process is changing the collection; run the command again"),
    (errors.QueryCanceled, "stopped the statement; nothing was changed"),
    (errors.DiskFull, "has no space left; nothing was changed"),
)


class Cursor(psycopg.Cursor[TupleRow]):
    """A cursor that always passes parameters, so that ``%%`` stands for ``%`` in every statement."""

    def execute(self, query: Any, params: Any = (), **options: Any) -> Self:
        """Run a statement."""
        return super().execute(query, () if params is None else params, **options)


class Server:
    """Connections to one database, as many as are used at once; a process that was forked makes its own."""

    def __init__(self, location: Location) -> None:
        """Take a location; connections are made when they are needed."""
        self.location = location
        self._process = os.getpid()
        self._idle: deque[Connection] = deque()
        weakref.finalize(self, _close, self._idle)

    @contextmanager
    def transaction(self, write: bool = False) -> Iterator[Cursor]:
        """Yield a cursor in a transaction, which ends with the block: committed, or rolled back if it raises.

        A transaction that only reads sees one state of the database. One that writes waits for other writers.
        Raises BackendError.
        """
        try:
            connection = self._begin(write)
            try:
                with Cursor(connection) as cursor:
                    if write:
                        cursor.execute(_WAIT_FOR_LOCKS, [_LOCK_WAIT])
                    yield cursor
                connection.commit()
            except BaseException:
                if not connection.closed:
                    connection.rollback()
                raise
            finally:
                if not connection.closed:
                    self._idle.append(connection)
        except psycopg.Error as error:
            raise self._failure(error) from None

    def _begin(self, write: bool) -> Connection:
        """Return a connection on which a transaction has begun; idle ones may have been lost."""
        if self._process != os.getpid():
            self._process, self._idle = os.getpid(), deque()
        while True:
            known = bool(self._idle)
            connection = self._idle.pop() if known else self._connect()
            try:
                connection.isolation_level = (
                    IsolationLevel.READ_COMMITTED if write else IsolationLevel.REPEATABLE_READ
                )
                connection.read_only = not write
                connection.execute("SET LOCAL jit = off")  # it takes longer than most searches
            except psycopg.OperationalError:
                connection.close()
                if not known:
                    raise
            else:
                return connection

    def _connect(self) -> Connection:
        """Connect. Raises BackendError: the reason may be the location, the network or the server."""
        try:
            connection = psycopg.connect(self.location.conninfo, prepare_threshold=None, client_encoding="utf8")
        except psycopg.OperationalError as error:
            said = _message(error).removeprefix("connection failed: ").removeprefix("connection is bad: ")
            if any(phrase in said for phrase in _REFUSALS):
                raise BackendError(f"{self.location}: the server {_REFUSED} ({said})") from None
            raise BackendError(f"{self.location}: cannot connect ({said})") from None
        binary.register(connection.adapters)
        return connection

    def _failure(self, error: psycopg.Error) -> BackendError:
        """Return an error of one line, without credentials."""
        said = _message(error)
        found = next((hint for kinds, hint in _HINTS if isinstance(error, kinds)), "")
        if not found and isinstance(error, psycopg.OperationalError) and error.diag.message_primary is None:
            found = "does not answer; what was not committed is undone: run the command again when it is back"
        return BackendError(f"{self.location}: the server {f'{found} ({said})' if found else f'says: {said}'}")


def _message(error: psycopg.Error) -> str:
    """Return the message of the server or libpq on one line."""
    return " ".join((error.diag.message_primary or str(error)).split())[:_MESSAGE_LENGTH]


def _close(idle: deque[Connection]) -> None:
    while idle:
        idle.pop().close()


def streamed(cursor: Cursor, statement: sql.Composed, values: Sequence[Any] = ()) -> Iterator[TupleRow]:
    """Yield the rows of a query in the cursor's transaction, some thousands at a time, by way of a second cursor."""
    with cursor.connection.cursor(name="transhash", binary=True) as rows:
        rows.itersize = _PAGE
        yield from rows.execute(statement, values)
