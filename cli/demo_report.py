"""The demo's report: one self-contained page of HTML."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from transhash import files
from transhash.datasets import digits
from transhash.evaluation import TIE_RULE
from transhash.report.page import environment

from .demo_compare import TIMED_QUERIES, Results


def write(path: Path, results: Results, commands: list[str], seconds: float) -> None:
    """Draw what was compared, with the commands that were run and the seconds they took."""
    template = environment(__package__).get_template("demo_report.html")
    text = template.render(
        results=results,
        commands=commands,
        seconds=round(seconds),
        tie_rule=TIE_RULE,
        seed=digits.SEED,
        machine=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        versions=[f"{name} {version(name)}" for name in ("transhash", "torch", "timm", "numpy", "h5py")],
        timed=min(TIMED_QUERIES, results.sizes["queries"]),
    )
    with files.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
