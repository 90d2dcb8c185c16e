"""Requests to Milvus: the only module that sends them. It limits their time and reports failures in one line."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import grpc
from pymilvus import MilvusClient, MilvusException

from transhash.errors import BackendError

from .location import Location

PATIENCE = 60.0  # seconds that an answer may take, unless MILVUS_TIMEOUT says otherwise
PAGE = 10_000  # rows per response

_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_CHAIN = 8  # causes of an error that are examined
_MESSAGE_LENGTH = 300  # characters of the server's message
_ERRORS = (MilvusException, grpc.RpcError, grpc.FutureTimeoutError)

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it also prints the errors that it raises


class Server:
    """A connection to one collection, with the consistency of its answers."""

    def __init__(self, location: Location, consistency: str = "Strong") -> None:
        """Connect with the credentials in the environment. Raises BackendError."""
        self.location = location
        self.patience = _patience()
        self.consistency = consistency
        self._token = _token()
        try:
            self._client = MilvusClient(location.uri, token=self._token, timeout=self.patience, dedicated=True)
        except _ERRORS as error:
            raise self._failure(error) from None

    def call(self, method: str, /, **given: Any) -> Any:
        """Call a method of the client on the collection. Raises BackendError."""
        try:
            return getattr(self._client, method)(self.location.name, timeout=self.patience, **given)
        except _ERRORS as error:
            raise self._failure(error) from None

    def version(self) -> str:
        """Return the server's version."""
        try:
            return str(self._client.get_server_version(timeout=self.patience))
        except _ERRORS as error:
            raise self._failure(error) from None

    def count(self, condition: str) -> int:
        """Return how many rows satisfy a condition, including every acknowledged write."""
        return int(self.query(condition, ["count(*)"])[0]["count(*)"])

    def query(self, condition: str, fields: list[str], **options: Any) -> list[dict[str, Any]]:
        """Return fields of the rows that satisfy a condition, including every acknowledged write: a few thousand at
        most.

        Options are those of the client, such as `limit`.
        """
        level = {"consistency_level": "Strong", **options}
        return list(self.call("query", filter=condition, output_fields=fields, **level))

    def pages(self, condition: str, fields: list[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield fields of all rows that satisfy a condition, a few thousand at a time, by ascending id."""
        rows = self.call(
            "query_iterator", batch_size=PAGE, filter=condition, output_fields=fields, consistency_level="Strong"
        )
        while True:
            try:
                page = rows.next()
            except _ERRORS as error:
                raise self._failure(error) from None
            if not page:
                return
            yield page

    def search(self, codes: list[bytes], condition: str, limit: int, params: dict[str, int]) -> Any:
        """Return the hits of each code: lists with `ids` and `distances`."""
        return self.call(
            "search",
            data=codes,
            anns_field="code",
            filter=condition,
            limit=limit,
            search_params={"metric_type": "HAMMING", "params": params},
            consistency_level=self.consistency,
        )

    def _failure(self, error: Exception) -> BackendError:
        """Describe an error in one line, without the credentials."""
        codes, said = _codes(error), " ".join(str(getattr(error, "message", error)).split())
        if codes & _REFUSED:
            what = "refuses the credentials; set MILVUS_TOKEN, or MILVUS_USER and MILVUS_PASSWORD"
        elif codes & _AWAY or "Fail connecting" in said or "Retry timeout" in said:
            what = (
                f"does not answer (waited up to MILVUS_TIMEOUT, {self.patience:g} s); "
                "rows that it acknowledged are kept, run the command again when it is back"
            )
        else:
            what = f"says: {said[:_MESSAGE_LENGTH]}"
        for secret in filter(None, (self._token, self._token.partition(":")[2])):
            what = what.replace(secret, "…")
        return BackendError(f"{self.location}: the server {what}")


def _codes(error: BaseException | None) -> set[object]:
    """Return the codes of an error and of its causes."""
    found = set()
    for _ in range(_CHAIN):
        code = getattr(error, "code", None)
        found.add(code() if callable(code) else code)
        error = getattr(error, "__cause__", None) or getattr(error, "__context__", None)
    return found


def _token() -> str:
    """Return the credentials in the environment; empty if there are none."""
    user, password = os.environ.get("MILVUS_USER", ""), os.environ.get("MILVUS_PASSWORD", "")
    return os.environ.get("MILVUS_TOKEN") or (f"{user}:{password}" if user else "")


def _patience() -> float:
    given = os.environ.get("MILVUS_TIMEOUT", "")
    try:
        seconds = float(given or PATIENCE)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise BackendError(f"MILVUS_TIMEOUT={given}: give seconds, such as 60")
    return seconds
