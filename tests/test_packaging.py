import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that the repository stays clean."""
    import shutil

    source, out = tmp_path_factory.mktemp("source") / "transhash", tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns(".git", "build", "*.egg-info", "th-demo", ".*_cache", ".venv", ".hypothesis")
    shutil.copytree(REPOSITORY, source, ignore=ignore)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        out,
        source,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_installs_no_generic_top_level_name(wheel):
    names = {name.split("/")[0] for name in wheel.namelist() if ".dist-info" not in name}
    assert names == {"transhash", "faiss_backend", "milvus_backend", "transhash_cli"}


def test_holds_every_module_and_what_they_read(wheel):
    names = set(wheel.namelist())
    for package, installed in (
        ("transhash", "transhash"),
        ("faiss_backend", "faiss_backend"),
        ("milvus_backend", "milvus_backend"),
        ("cli", "transhash_cli"),
    ):
        for path in (REPOSITORY / package).rglob("*.py"):
            assert f"{installed}/{path.relative_to(REPOSITORY / package).as_posix()}" in names
    assert {"transhash/py.typed", "faiss_backend/py.typed"} <= names
    assert {f"transhash/report/templates/page.{kind}" for kind in ("html", "js")} <= names


def test_faiss_follows_the_platform(wheel):
    metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: faiss")]
    assert len(required) == 2
    assert all("platform_machine" in line and "platform_system" in line for line in required)


def test_version_is_said_once():
    import tomllib

    import transhash

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert version("transhash") == transhash.__version__
    assert f"## {transhash.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()
