"""Facts recorded with every run: machine, versions, commit; and memory figures."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent

_PACKAGES = (
    *("numpy", "scipy", "faiss-cpu", "faiss-gpu", "torch", "timm", "h5py", "scikit-learn", "ImageHash"),
    *("usearch", "numkong", "hnswlib", "pymilvus", "milvus-lite"),
)
_SOURCE = ("benchmarks", "transhash", "faiss_backend", "pyproject.toml", ":!transhash/report", ":!benchmarks/results")


def machine() -> dict[str, Any]:
    """Return cpu, cores (usable by this process), memory_gib, gpu and system."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20, 1),
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed libraries that suites use, and the variant of the scan."""
    from transhash import hamming

    found = {"python": platform.python_version(), "scan": hamming.isa or "numpy"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the last commit of the measured code and a digest of uncommitted changes; empty outside a repository."""
    last = _output("git", "log", "-1", "--format=%h", "--abbrev=12", "--", *_SOURCE)
    if not last or not _output("git", "status", "--porcelain", "--", *_SOURCE):
        return last
    digest = hashlib.sha256(_output("git", "diff", "HEAD", "--", *_SOURCE).encode())
    for name in _output("git", "ls-files", "--others", "--exclude-standard", "--", *_SOURCE).splitlines():
        digest.update(name.encode() + (REPOSITORY / name).read_bytes())
    return f"{last}, changed: {digest.hexdigest()[:8]}"


def free_memory() -> int:
    """Return the available memory in bytes; 16 GiB where the system does not report it."""
    available = _field("/proc/meminfo", "MemAvailable")
    return int(available.split()[0]) * 1024 if available else 16 << 30


def peak_memory() -> float:
    """Return the peak memory of this process in MiB; 0 where the system does not report it."""
    peak = _field("/proc/self/status", "VmHWM")  # getrusage would include the parent's memory
    return int(peak.split()[0]) / 1024 if peak else 0.0


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
