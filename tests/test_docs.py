"""The documentation site builds without warnings, requests no other hosts, and has complete references."""

import os
import re
import runpy
import subprocess
import sys

import pytest

import transhash

from .conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
LOADED = re.compile(r"""<(?:link|script|img|iframe)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//[^"'\s>]+""")


def test_the_command_reference_is_up_to_date():
    page = runpy.run_path(str(DOCS / "cli_reference.py"))["page"]
    written = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert written == page(), "run: python docs/cli_reference.py"


def test_the_api_reference_has_every_public_name():
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: transhash\.(\w+)$", text, re.MULTILINE)) == sorted(transhash.__all__)


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r"[\w/-]+\.md", (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")))
    assert named == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def test_links_in_the_readme_resolve():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    for link in links:
        assert (REPOSITORY / link).exists(), link


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        foreign = [tag for tag in LOADED.findall(page.read_text(encoding="utf-8")) if 'rel="canonical"' not in tag]
        assert not foreign, page.name
