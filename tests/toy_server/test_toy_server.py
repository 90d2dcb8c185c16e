"""The example of docs/plugins.md passes the test suite for servers."""

from unittest.mock import patch

import pytest

from transhash.testing import CollectionContract

from .toy_server import ToyServer


class TestToy(CollectionContract):
    @pytest.fixture(autouse=True)
    def _installed(self):
        with patch("transhash.index.collection.server", lambda location: ToyServer):  # as the entry point does
            yield

    def build(self, codes, place):
        return ToyServer.build(codes, f"toy://{place}/photos.db")
