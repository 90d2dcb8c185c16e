"""Which libraries a command loads: importing any of these takes several hundred milliseconds."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import special

from transhash.hashers.numpy_net import erf


def loaded(*arguments):
    """Run `th`, as it is installed, in a process and return the modules that it has imported."""
    code = (
        "import sys; sys.argv[0] = 'th'\n"
        "from transhash_cli.main import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.slow
def test_a_query_loads_neither_torch_nor_faiss_nor_scipy(th, pictures, tmp_path):
    th("encode", pictures, "-o", tmp_path / "c.h5")
    th("index", "build", tmp_path / "c.h5", "-o", tmp_path / "i")
    modules = loaded("query", tmp_path / "i", pictures / "cross" / "0.png")
    assert "transhash.hashers.numpy_hasher" in modules
    assert not modules & {"torch", "timm", "faiss", "scipy", "numpy.ma", "importlib.metadata", "multiprocessing"}


@pytest.mark.slow
def test_help_loads_hardly_anything():
    assert not loaded("--help") & {"numpy", "torch", "hashlib", "csv", "importlib.metadata", "concurrent.futures"}


def test_erf_is_that_of_scipy():
    values = np.concatenate([np.linspace(-9, 9, 100_001), [0, np.inf, -np.inf]]).astype(np.float32)
    assert np.abs(erf(values).astype(float) - special.erf(values.astype(float))).max() < 5e-7
    assert np.isnan(erf(np.array([np.nan], np.float32)))
