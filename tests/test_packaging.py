import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import transhash

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that the repository stays clean."""
    source, out = tmp_path_factory.mktemp("source") / "transhash", tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns(".git", "build", "*.egg-info", "th-demo", ".*_cache", ".venv", ".hypothesis")
    shutil.copytree(REPOSITORY, source, ignore=ignore)
    project = source / "pyproject.toml"
    project.write_text(project.read_text().replace('"-O3"', '"-O0"'))  # nothing that is compiled here runs
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
    assert names == {
        "transhash",
        "faiss_backend",
        "lance_backend",
        "milvus_backend",
        "postgres_backend",
        "transhash_cli",
    }


def test_holds_every_module_and_what_they_read(wheel):
    names = set(wheel.namelist())
    for package, installed in (
        ("transhash", "transhash"),
        ("faiss_backend", "faiss_backend"),
        ("lance_backend", "lance_backend"),
        ("milvus_backend", "milvus_backend"),
        ("postgres_backend", "postgres_backend"),
        ("cli", "transhash_cli"),
    ):
        for path in (REPOSITORY / package).rglob("*.py"):
            assert f"{installed}/{path.relative_to(REPOSITORY / package).as_posix()}" in names
    assert {"transhash/py.typed", "faiss_backend/py.typed"} <= names
    for folder in ("transhash/demo/photos", "transhash/report/templates", "transhash/serving/page"):
        assert {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / folder).iterdir()} <= names


def test_faiss_follows_the_platform(wheel):
    metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: faiss")]
    assert len(required) == 2
    assert all("platform_machine" in line and "platform_system" in line for line in required)


def test_the_tag_of_a_release_is_its_version(command, tmp_path):
    """`.ci/tag` compares the tags of a commit, if any, with the output of `th --version`."""
    shutil.copytree(REPOSITORY / ".ci", tmp_path / ".ci")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "PATH": f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def run(*words):
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert run(".ci/tag").returncode == 0  # without a repository
    for words in (["init"], ["commit", "--allow-empty", "-m", "x"], ["tag", "v" + transhash.__version__]):
        assert run("git", *words).returncode == 0
        assert run(".ci/tag").returncode == 0
    run("git", "tag", "v99.0.0")
    done = run(".ci/tag")
    assert done.returncode == 1
    assert done.stderr == f"The tag is v99.0.0, but th --version prints {transhash.__version__}.\n"


def test_version_is_said_once():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert version("transhash") == transhash.__version__
    assert transhash.__version__ in (REPOSITORY / "CHANGELOG.md").read_text()
