"""How `th` ends, whatever happens: exit codes, closed streams, signals, secrets."""

import errno
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version

import click
import pytest
from click.testing import CliRunner
from transhash_cli import render, running
from transhash_cli.group import cli

from transhash.errors import TransHashError, redacted


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (TransHashError("what is wrong"), 1, "what is wrong"),
        (OSError(errno.ENOSPC, "No space left on device", "c.h5"), 1, "c.h5: No space left on device"),
        (OSError(errno.EBADF, "Bad file descriptor"), 1, "standard output is closed; nothing can be written to it"),
        (MemoryError(), 1, "out of memory; use a smaller --batch-size or a machine with more memory"),
        (click.UsageError("no such thing"), 2, "no such thing (see: th --help)"),
        (KeyboardInterrupt(), 130, "interrupted; files written earlier are unchanged"),
        (click.Abort(), 130, "interrupted; files written earlier are unchanged"),
    ],
)
def test_every_error_has_a_line_and_a_code(error, code, message):
    assert running.describe(error) == (message, code)


def test_a_defect_is_a_one_line_error():
    line, code = running.describe(ZeroDivisionError("division\nby zero"))
    assert code == 70
    assert line.startswith("unexpected ZeroDivisionError: division by zero. ")
    assert "TRANSHASH_DEBUG=1" in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("milvus://root:hunter2@host:1/x: no", "milvus://…@host:1/x: no"),
        ("'milvus+https://a:p/w@d@host/x' and http://u@h", "'milvus+https://…@host/x' and http://…@h"),
        ("milvus://host:1/x and a@b.c", "milvus://host:1/x and a@b.c"),
        ("Directory 'postgresql:/me:hunter2@h/d' does not exist", "Directory 'postgresql:/…@h/d' does not exist"),
        ("postgresql://h/d/n?sslpassword=hunter2&port=1: no", "postgresql://h/d/n?sslpassword=…&port=1: no"),
    ],
)
def test_credentials_are_not_repeated(text, shown):
    assert redacted(text) == shown


def run(command, *words, **kwargs):
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=600, **kwargs)


@pytest.mark.parametrize("words", [("dedup", "--radius", "1"), ("index", "merge", "-o", "y"), ("index", "info")])
def test_no_command_shows_a_password(command, words, tmp_path):
    done = run(command, *words, "milvus://root:hunter2@127.0.0.1:1/x", cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr + done.stdout


CLOSED = """
import os, sys
for number in map(int, sys.argv[1].split(",")):
    os.close(number)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize(("closed", "code"), [("1", 1), ("0,1", 1), ("2", 0), ("0,2", 0), ("0,1,2", 1)])
def test_closed_streams(command, closed, code, tmp_path):
    done = run([sys.executable, "-c", CLOSED, closed, *command], "protocol", "list", cwd=tmp_path)
    assert done.returncode == code
    assert (done.stdout != "") == ("1" not in closed)
    if code and "2" not in closed:
        assert done.stderr == "Error: standard output is closed; nothing can be written to it\n"
    else:
        assert done.stderr == ""


def test_a_full_disk_under_stdout(command):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*command, "protocol", "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_a_closed_pipe(command):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command, "protocol", "list"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["import", "run"])
def test_a_signal_at_any_moment(number, stage, tmp_path):
    """While modules are imported, and while a command works."""
    if stage == "import":
        (tmp_path / "click.py").write_text("import time; print('here', flush=True); time.sleep(60)")
        code = "import sys; sys.argv = ['th']; from transhash_cli.main import main; main()"
    else:
        code = (
            "import sys, time; sys.argv = ['th', 'protocol', 'list']\n"
            "from transhash_cli import main, render\n"
            "render.document = render.table = lambda *a, **k: (print('here', flush=True), time.sleep(60))\n"
            "main.main()"
        )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (
        130,
        "Error: interrupted; files written earlier are unchanged\n",
    )


def test_waiting_threads_are_passive_unless_the_user_decides(tmp_path):
    code = "import sys, os, atexit; sys.argv = ['th', '--version']\n"
    code += "atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY']))\n"
    code += "from transhash_cli.main import main; main()"
    bare = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for env, expected in ((bare, "PASSIVE"), ({**bare, "OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = run([sys.executable, "-c", code], env=env)
        assert done.stdout.splitlines()[-1] == expected


@pytest.mark.slow
def test_quiet_prints_answers_and_errors_only(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["encode", str(pictures), "-o", "c.h5", "--model", "phash"]
    assert CliRunner().invoke(cli, ["--quiet", *words]).output == ""
    assert "24 rows" in CliRunner().invoke(cli, words).output


def test_python_m_transhash():
    done = run([sys.executable, "-m", "transhash"], "--version")
    assert done.stdout == f"th, version {version('transhash')}\n"


def test_numbers_without_end(command, tmp_path):
    (tmp_path / "ids").write_text("9" * 5000)
    for words in (["query", "i", "--ids", "ids"], ["query", "i", "-k", "9" * 5000], ["train", "--lr", "9" * 5000]):
        done = run(command, *words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert len(done.stderr) < 1100


@pytest.fixture(autouse=True)
def plain_output():
    yield
    render.use_quiet(False)
    render.use_json(False)


def test_progress_has_one_unit(monkeypatch, capsys):
    """Also where there is less than an image per second, which tqdm shows as "1.30s/ images" by itself."""
    monkeypatch.setattr(render, "_LINE_EVERY", 0)
    with render.progress(5, "images") as bar:
        bar.start_t, bar.last_print_t = bar.start_t - 4, bar.last_print_t - 4  # as if it had taken so long
        bar.update(2)
        bar.refresh()
    assert re.search(r"^2/5 images, 0\.\d\d images/s, \d\d:\d\d left$", capsys.readouterr().err, re.MULTILINE)
