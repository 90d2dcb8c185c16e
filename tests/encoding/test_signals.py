"""Signals at moments that each test chooses: `th encode` raises them itself, so that nothing depends on timing."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from transhash.codes import open_codes
from transhash.encoding.run import encode_to_file

from ..signals import DRIVER, run_until

pytestmark = pytest.mark.slow

PROGRESS = ("transhash_cli.encode_report", "Terminal.progress")
COMMIT = ("transhash.encoding.unfinished", "UnfinishedRun.commit")
SUBMIT = ("transhash.encoding.processes", "_Pool.submit")


@pytest.fixture
def photos(pictures, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(200):
        target = pictures / "cross" / f"{number % 8}.png"
        (folder / f"{number:03}.png").symlink_to(target) if number % 50 else (folder / f"{number:03}.png").touch()
    return folder


def contents(path):
    with open_codes(path) as file:
        return file.header.digest, len(file)


def check_resumes(source, output):
    """Finish an interrupted run in this process; the file must be that of a run that was never interrupted."""
    resumed = []
    encode_to_file(source, output, "phash", on_resume=resumed.append)
    encode_to_file(source, output.with_name("whole.h5"), "phash")
    assert contents(output) == contents(output.with_name("whole.h5"))
    assert not output.with_name(output.name + ".parts").exists()
    return resumed[0]


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_signal_to_every_process(forks, photos, tmp_path, number, processes):
    """As terminals and services send it: no image is skipped because a process that helps got the signal, too."""
    output = tmp_path / "c.h5"
    done = run_until(
        forks, (*PROGRESS, 3), number, "encode", photos, "--model", "phash", "--processes", processes, "-o", output
    )
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].startswith("Error: interrupted")
    assert "Traceback" not in done.stderr
    assert not output.exists()
    assert check_resumes(photos, output) == 96  # the three batches of 32 that were done


def test_a_signal_to_every_process_that_reads_an_array(forks, tmp_path):
    array, output = tmp_path / "a.npy", tmp_path / "c.h5"
    np.save(array, np.random.default_rng(0).integers(0, 256, (500, 8, 8, 3), np.uint8))
    done = run_until(forks, (*PROGRESS, 2), signal.SIGTERM, "encode", array, "--model", "phash", "-o", output)
    assert done.returncode == 130
    assert check_resumes(array, output) == 64


@pytest.mark.parametrize(
    ("module", "function", "number"),
    [
        ("transhash_cli.encode_report", "Terminal.__init__", signal.SIGTERM),
        ("transhash.encoding.job", "load_hasher", signal.SIGTERM),
        ("transhash.encoding.run", "_Run.__init__", signal.SIGINT),
        ("transhash.encoding.unfinished", "UnfinishedRun.commit", signal.SIGTERM),
        ("transhash.codes", "merge", signal.SIGTERM),
        ("transhash_cli.encode_report", "Terminal.summary", signal.SIGTERM),
    ],
)
def test_a_signal_at_any_moment(forks, photos, tmp_path, module, function, number):
    output = tmp_path / "c.h5"
    done = run_until(forks, (module, function, 1), number, "encode", photos, "--model", "phash", "-o", output)
    written = function in ("merge", "Terminal.summary")
    assert output.exists() == written
    if function == "merge":  # the file is complete: the run ends as if the signal had come after it
        assert done.returncode in (0, 130)
    else:
        assert done.returncode == 130
        assert done.stderr.splitlines()[-1].startswith("Error: interrupted")
    assert "Traceback" not in done.stderr
    check_resumes(photos, output)


def test_killed_again_and_again(forks, photos, pictures, tmp_path):
    """After kill -9 and signals, the old output is unchanged, and the final file equals that of one run."""
    output = tmp_path / "c.h5"
    encode_to_file(pictures, output, "phash")
    before = output.read_bytes()
    command = ["encode", photos, "--model", "phash", "--force", "-o", output]
    for moment, number in (
        ((*PROGRESS, 2), signal.SIGKILL),
        ((*PROGRESS, 3), signal.SIGINT),
        ((*PROGRESS, 1), signal.SIGTERM),
        ((*COMMIT, 1), signal.SIGKILL),
        (("transhash.encoding.unfinished", "UnfinishedRun.open", 1), signal.SIGKILL),
    ):
        done = run_until(forks, moment, number, *command)
        assert done.returncode == (-number if number == signal.SIGKILL else 130)
        assert output.read_bytes() == before
        if number != signal.SIGKILL:
            assert done.stderr.splitlines()[-1].startswith("Error: interrupted")
    assert run_until(forks, (*PROGRESS, 10**9), signal.SIGKILL, *command).returncode == 0  # which is never
    encode_to_file(photos, tmp_path / "whole.h5", "phash")
    assert contents(output) == contents(tmp_path / "whole.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.h5", "photos", "whole.h5"]


def test_ctrl_c_while_the_processes_start(forks, photos, tmp_path):
    output = tmp_path / "c.h5"
    done = run_until(
        forks, (*SUBMIT, 2), signal.SIGINT, "encode", photos, "--model", "phash", "--processes", 2, "-o", output
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("moment", [(*SUBMIT, 2), (*PROGRESS, 1)], ids=["starting", "working"])
def test_processes_end_with_a_killed_parent(left, photos, tmp_path, moment):
    arguments = ["encode", photos, "--model", "phash", "--processes", 2, "-o", tmp_path / "c.h5"]
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, moment), "self", str(int(signal.SIGKILL)), *map(str, arguments)],
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    assert process.wait(600) == -signal.SIGKILL
    assert not left(process.pid)
