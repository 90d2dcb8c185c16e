"""Run the tests of --fast in a process of their own: torch has crashed where OpenVINO had computed before."""

import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("fast_hasher_cases.py")


@pytest.mark.slow
def test_fast_hashers():
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "0", CASES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_training_is_refused_where_it_may_crash():
    code = (
        "import sys, transhash\n"
        "sys.modules['openvino'] = sys\n"
        "try: transhash.train('photos')\n"
        "except transhash.TransHashError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("this process has computed with fast=True"), done.stderr
