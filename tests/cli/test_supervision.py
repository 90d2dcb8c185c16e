"""A library that aborts the process, as Ray does when it loses its cluster, is one line; signals reach the work."""

import json
import os
import select
import signal
import subprocess
import sys
import time

import pytest

ABORTS = """
import os, sys
def is_initialized():
    os.write(2, b"[2026] core_worker.cc:1: Check failed: it is gone\\n*** StackTrace Information ***\\n")
    os.abort()
"""
WAITS = """
import os, time
def is_initialized():
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(600)
"""


def start(folder, pictures, module, *options):
    (folder / "ray.py").write_text(module)
    words = ["encode", str(pictures), "-o", str(folder / "c.h5"), "--model", "phash", "--engine", "ray", *options]
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.argv = {['th', *words]}; from transhash_cli.main import main; main()",
        ],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.slow
def test_an_abort_is_one_line(pictures, tmp_path):
    _, errors = (process := start(tmp_path, pictures, ABORTS)).communicate(timeout=600)
    assert process.returncode == 1
    lines = errors.splitlines()
    assert lines[-1] == (
        "Error: Ray ended this process (SIGABRT): [2026] core_worker.cc:1: Check failed: it is gone; "
        "finished work is kept, and the same command resumes"
    )
    assert not [line for line in lines if "StackTrace" in line]
    _, errors = start(tmp_path, pictures, ABORTS, "--log-json").communicate(timeout=600)
    assert [json.loads(line)["event"] for line in errors.splitlines()][-1] == "error"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_the_process_that_works(pictures, tmp_path, number):
    process = start(tmp_path, pictures, WAITS)
    assert process.stdout is not None
    worker = os.pidfd_open(int(process.stdout.readline()))
    while process.poll() is None:  # the second signal does not wait for a safe point
        process.send_signal(number)
        time.sleep(0.1)
    _, errors = process.communicate(timeout=600)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 130
        assert errors.splitlines()[-1].startswith("Error: interrupted")
    poll = select.poll()
    poll.register(worker, select.POLLIN)  # it has ended
    assert poll.poll(120_000)
