"""OpenVINO, imported without its telemetry, and the process's only Core."""

import sys
from functools import cache
from typing import Any

_TELEMETRY = "openvino_telemetry"

# Importing OpenVINO reports that to a server, from a forked process, and writes to the home folder. It does not where
# this package is missing.
_reporting = sys.modules.get(_TELEMETRY)
sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
try:
    import openvino
    from openvino import opset13 as ops
finally:
    if _reporting:
        sys.modules[_TELEMETRY] = _reporting
    else:
        del sys.modules[_TELEMETRY]

__all__ = ["Model", "core", "ops"]

Model = openvino.Model


@cache
def core() -> Any:
    """Return the process's only `openvino.Core`, which is never freed.

    A Core gives the thread that creates it a stack for signal handlers, and unmaps it when it is freed. If another
    thread frees it, or another Core exists, the next signal that Python handles (SIGINT, SIGCHLD) kills the process.
    """
    return openvino.Core()
