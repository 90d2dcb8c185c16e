"""th index tune, and th index build with the types and parameters of FAISS."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from cli.group import cli

CLUSTERS = 20


@pytest.fixture(scope="module")
def codes(th, tmp_path_factory):
    """A codes file of 2,000 rows around some centres."""
    folder = tmp_path_factory.mktemp("codes")
    rng = np.random.default_rng(0)
    centres = rng.random((CLUSTERS, 64)) < 0.5
    bits = centres[np.arange(2000) % CLUSTERS] ^ (rng.random((2000, 64)) < 0.12)
    np.save(folder / "codes.npy", np.packbits(bits, axis=1))
    (folder / "list.txt").write_text("\n".join(f"{row}.png" for row in range(2000)))
    th("codes", "import", "codes.npy", "-o", "c.h5", "--model", "made", "--list", "list.txt", cwd=folder)
    return folder / "c.h5"


def test_tuning_is_stored(th, codes, tmp_path):
    th("index", "build", codes, "-o", "i", "--type", "BIVF40", "--nprobe", 40, cwd=tmp_path)
    before = json.loads(th("index", "info", "i", "--json", cwd=tmp_path).stdout)
    told = th("index", "tune", "i", "--recall", 0.9, cwd=tmp_path)
    chosen = next(line for line in told.stdout.splitlines() if line.endswith("chosen")).split()
    assert told.stdout.splitlines()[0].split() == ["nprobe", "recall", "ms", "per", "query"]
    assert float(chosen[1]) >= 0.9
    assert f"searches now use nprobe={chosen[0]} by default" in told.stderr
    after = json.loads(th("index", "info", "i", "--json", cwd=tmp_path).stdout)
    assert after | {"bytes": 0} == before | {"nprobe": int(chosen[0]), "bytes": 0}
    assert int(chosen[0]) < 40
    more = ["--recall", 1, "-k", 5, "--queries", codes, "--json"]
    again = json.loads(th("index", "tune", "i", *more, cwd=tmp_path).stdout)
    assert (again["k"], again["parameter"], again["chosen"]["recall"]) == (5, "nprobe", 1.0)
    assert again["chosen"] in again["trials"]
    assert th("index", "verify", "i", cwd=tmp_path)


def test_an_exact_index_cannot_be_tuned(th, codes, tmp_path):
    th("index", "build", codes, "-o", "flat", "--type", "flat", cwd=tmp_path)
    refused = th("index", "tune", "flat", cwd=tmp_path, code=1).stderr
    assert "type flat has nothing to tune" in refused
    assert refused.count("\n") == 1


@pytest.mark.slow
def test_types_and_parameters(th, codes, tmp_path):
    said = th("index", "build", codes, "-o", "a", "--type", "auto", "--recall", 0.9, cwd=tmp_path).stderr
    assert "type flat: 2000 codes of 64 bits are compared in milliseconds" in said
    th(
        "index",
        "build",
        codes,
        "-o",
        "g",
        "--type",
        "hnsw",
        "--M",
        8,
        "--ef-construction",
        50,
        "--ef",
        30,
        cwd=tmp_path,
    )
    info = json.loads(th("index", "info", "g", "--json", cwd=tmp_path).stdout)
    assert (info["M"], info["ef_construction"], info["ef"]) == (8, 50, 30)
    th("index", "build", codes, "-o", "h", "--type", "BHash4x10", "--nflip", 2, cwd=tmp_path)
    exact = th("query", "a", codes, "--radius", 5, "--csv", cwd=tmp_path).stdout
    assert th("query", "h", codes, "--radius", 5, "--csv", cwd=tmp_path).stdout == exact
    assert th("query", "a", codes, "--radius", 5, "--csv", "--mmap", cwd=tmp_path).stdout == exact
    assert th("query", "g", codes, "--radius", 5, "--csv", cwd=tmp_path).stdout == exact


@pytest.mark.parametrize(
    "arguments", [("tune", "INDEX"), ("build", "CODES", "-o", "never", "--type", "auto")], ids=["tune", "build"]
)
def test_a_recall_that_is_not_a_number(codes, tmp_path, arguments):
    names = {"INDEX": str(tmp_path / "i"), "CODES": str(codes)}
    runner = CliRunner()
    assert runner.invoke(cli, ["index", "build", str(codes), "-o", names["INDEX"], "--type", "ivf"]).exit_code == 0
    refused = runner.invoke(cli, ["index", *(names.get(word, word) for word in arguments), "--recall", "nan"])
    assert refused.exit_code == 2
    assert "nan is not a number" in refused.output
