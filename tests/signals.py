"""Signals at chosen points: `th` sends them to itself, so that tests do not depend on timing."""

import subprocess

from .forking import Server

# Runs `th` with one function replaced by one that raises a signal at a chosen call.
DRIVER = """
import importlib, os, signal, sys, time
module, name, calls, target, number, *arguments = sys.argv[1:]
owner = importlib.import_module(module)
*outer, attribute = name.split(".")
for part in outer:
    owner = getattr(owner, part)
original, left, number = getattr(owner, attribute), [int(calls)], int(number)
def send():
    arrived, handler = [], signal.getsignal(number)
    if callable(handler):  # another thread may get the signal first: go no further before it is handled
        signal.signal(number, lambda *values: (arrived.append(number), handler(*values)))
    (os.killpg if target == "group" else os.kill)(os.getpid(), number)
    while not arrived:
        time.sleep(0.001)
    signal.signal(number, handler)
def replaced(*positional, **named):
    result = original(*positional, **named)
    left[0] -= 1
    if left[0] == 0:
        send()
    return result
setattr(owner, attribute, replaced)
sys.argv = ["th", *arguments]
from transhash_cli.main import main
main()
"""


def run_until(
    forks: Server, moment: tuple[str, str, int], number: int, *arguments: object, target: str = "group"
) -> subprocess.CompletedProcess[str]:
    """Run `th` in its own process group and send the group a signal at (module, function, number of calls before)."""
    return forks.run(DRIVER, *moment, target, int(number), *arguments, group=True)
