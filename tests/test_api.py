import subprocess
import sys
from typing import Any

import pytest

import transhash


def test_public_names():
    assert len(set(transhash.__all__)) == len(transhash.__all__)
    wanted = {"Filter", "Index", "Match", "Matches", "build_index", "index_info", "merge_indexes", "open"}
    assert wanted <= set(transhash.__all__)
    for name in transhash.__all__:
        assert callable(getattr(transhash, name))
        assert name in dir(transhash)


def test_unknown_name():
    assert not hasattr(transhash, "no_such_name")


def test_import_is_light():
    code = (
        "import sys, transhash, transhash_cli.main; "
        "print([m for m in ('numpy', 'torch', 'h5py', 'faiss', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_index_info_is_light(th, pictures, tmp_path):
    th("encode", pictures, "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    th("index", "build", "c.h5", "-o", "i", cwd=tmp_path)
    code = (
        "import sys; sys.argv = ['th', 'index', 'info', 'i']\n"
        "try:\n    from transhash_cli.main import main; main()\n"
        "finally:\n    print([m for m in ('numpy', 'torch', 'h5py', 'faiss', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_submodules_do_not_hide_functions():
    code = "import transhash.encoding.run, transhash.evaluation.metrics, transhash; print(callable(transhash.encode))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.slow
def test_readme_python_example(pictures, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(pictures)
    Image.open(pictures / "cross" / "0.png").save(tmp_path / "cat.jpg")
    scope: dict[str, Any] = {}
    exec(_readme_example(), scope)
    assert len(scope["matches"][0]) == 10
    assert "cross" in scope["matches"][0][0].path


def _readme_example() -> str:
    from .conftest import REPOSITORY

    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in example.splitlines() if line.strip()]) <= 5
    return example
