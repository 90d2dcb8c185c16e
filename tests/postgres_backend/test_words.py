"""Locations and binary formats, without a server."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("psycopg", reason="no package psycopg")

from postgres_backend import binary
from postgres_backend.location import Location
from transhash.errors import BackendError


@pytest.mark.parametrize(
    ("text", "host", "database", "name"),
    [
        ("postgresql://localhost/d/photos", "localhost", "d", "photos"),
        ("postgres://me@h:5433/d/a%20b%2Fc", "h", "d", "a b/c"),
        ("postgresql:///d/photos?host=/run/postgresql", "/run/postgresql", "d", "photos"),
        ("postgresql://[::1]/d/%E6%97%A5", "::1", "d", "日"),
    ],
)
def test_locations(text, host, database, name):
    from psycopg.conninfo import conninfo_to_dict

    location = Location.parse(text)
    found = conninfo_to_dict(location.conninfo)
    assert (found["host"], found["dbname"], location.name, str(location)) == (host, database, name, text)


def test_a_service_may_name_the_database(monkeypatch):
    assert Location.parse("postgresql:///photos?service=prod").name == "photos"
    monkeypatch.setenv("PGDATABASE", "d")
    assert Location.parse("postgresql://host/photos").name == "photos"
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert "connect_timeout" not in Location.parse("postgresql://host/photos").conninfo


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://host/photos",
        "postgresql://host/d/",
        "postgresql://host",
        "postgresql://host/a/b/c",
        "postgresql://u:secret@host/d/n",
        "postgresql://host/d/n?password=secret",
        "postgresql://host/d/n?sslpassword=secret",
        "postgresql://u:secret@host:x/d/n?no_such=1",
        "postgresql://host/d/n?no_such=1",
        "mysql://host/d/n",
    ],
)
def test_other_locations_are_refused(text, monkeypatch):
    monkeypatch.delenv("PGDATABASE", raising=False)
    with pytest.raises(BackendError) as refused:
        Location.parse(text)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.lists(st.binary(min_size=2, max_size=2), max_size=40), st.integers(1, 9), st.integers(1, 50))
def test_codes_come_back_from_any_chunks(packed, size, most):
    codes = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, 2)
    ids = np.arange(5, 5 + len(codes))
    row = b"\0\2\0\0\0\x08%s\0\0\0\6\0\0\0\x10%s"
    data = binary.HEADER + b"".join(
        row % (int(id).to_bytes(8, "big"), code.tobytes()) for id, code in zip(ids, codes, strict=True)
    )
    data += binary.TRAILER
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    parts = list(binary.codes(chunks, 2, most))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), ids)
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), codes)
