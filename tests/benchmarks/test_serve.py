"""The service under load, with a small network and few requests."""

import re

import pytest
from click.testing import CliRunner

pytest.importorskip("starlette")

from benchmarks import clients, serve

pytestmark = pytest.mark.slow


def test_it_measures_queries_by_id_and_by_image_and_memory():
    small = ["--codes", "2000", "--clients", "4", "--backbone", "test_vit", "--images", "8", "--ids", "40"]
    done = CliRunner().invoke(serve.command, [*small, "--rounds", "1", "--soak", "40"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = re.findall(r"^\| by (image|id) \| 4 \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", done.output, re.MULTILINE)
    assert [name for name, *_ in rows] == ["image", "id"]
    assert all(float(number) > 0 for row in rows for number in row[1:])
    assert re.search(r"memory of the server: \d+ MiB; after 20 more queries \d+ MiB, after 40 \d+ MiB", done.output)


def test_an_answer_that_is_an_error_stops_the_clients(tmp_path):
    from transhash.errors import ResultsError

    from ..serving.servers import build, running

    with running(build(tmp_path, 2)) as server, pytest.raises(ResultsError, match=r"the clients failed.*404"):
        clients.load(server.address, [clients.as_request("application/json", b'{"id": 999}')], 2, 4, tmp_path)
