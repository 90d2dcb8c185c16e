import pytest

from transhash import backends
from transhash.backends.exact import ExactIndex
from transhash.errors import BackendError
from transhash.testing import BackendContract


class TestExact(BackendContract):
    backend = ExactIndex
    refuses = {"mmap"}


def test_both_built_in_backends_are_found_alike():
    assert {"exact", "faiss"} <= set(backends.names())
    assert backends.load("exact") is ExactIndex
    assert backends.load("faiss").types[0] == "flat"


def test_unknown_backend():
    with pytest.raises(BackendError, match=r"'none' is not installed; available: .*exact.*faiss"):
        backends.load("none")


@pytest.mark.parametrize(("given", "message"), [({"x": 1}, "no parameter x"), ({"nprobe": 0}, "at least 1")])
def test_check_params(given, message):
    with pytest.raises(BackendError, match=message):
        backends.check_params(given, ("nprobe",), "type ivf")
