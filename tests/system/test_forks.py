"""Forks while another thread multiplies matrices."""

import os
import subprocess
import sys

import pytest

HASH_AND_FORK = """
import os, threading, numpy as np, transhash

hasher = transhash.load_hasher("copy", 1)
images = np.zeros((6, 112, 112, 3), np.uint8)
threads = [threading.Thread(target=hasher.encode, args=(images,), daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        os._exit(0)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_computing_ends_however_often_other_threads_fork():
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HASH_AND_FORK],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "done\n", done.stderr


CHILD_COMPUTES = """
import os, numpy as np, transhash

hasher = transhash.load_hasher("copy", 1)
images = np.zeros((1, 112, 112, 3), np.uint8)
here = hasher.encode(images)
if child := os.fork():
    print(os.waitpid(child, 0)[1])
else:
    os._exit(not np.array_equal(hasher.encode(images), here))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_a_forked_process_computes():
    done = subprocess.run([sys.executable, "-c", CHILD_COMPUTES], capture_output=True, text=True, timeout=300)
    assert done.stdout == "0\n", done.stderr
