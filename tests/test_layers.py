"""The arrows of the layout: cli -> transhash <- faiss_backend, and heavy libraries where they belong."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("transhash", {"click", "faiss", "faiss_backend", "transhash_cli", "cli", "jinja2"}),
        ("faiss_backend", {"click", "torch", "timm", "h5py", "transhash_cli", "cli"}),
        ("cli", {"faiss", "faiss_backend", "h5py", "timm"}),
    ],
)
def test_nothing_imports_against_the_arrows(package, forbidden):
    assert sources(package)
    for path in sources(package):
        assert not imported(path) & forbidden, path


def test_one_module_owns_hdf5():
    assert [path.name for path in sources("transhash") if "h5py" in imported(path)] == ["codes.py"]


def test_nothing_unpickles():
    for package in ("transhash", "faiss_backend", "cli", "benchmarks"):
        for path in sources(package):
            assert not imported(path) & {"pickle", "dill", "cloudpickle", "joblib"}, path
            assert "torch.load" not in path.read_text(encoding="utf-8"), path


def test_one_module_prints():
    for path in sources("cli"):
        if path.name != "render.py":
            calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            printing = {"print", "echo", "secho"}
            used = {getattr(call, "id", getattr(call, "attr", "")) for call in calls}
            assert not used & printing, path
