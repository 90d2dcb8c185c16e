"""One server that most tests share."""

from collections.abc import Iterator

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")

from .servers import Running, build, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with an index of pictures in two folders, which no test may change."""
    with running(build(tmp_path_factory.mktemp("served"))) as served:
        yield served
