"""Open an untrusted ONNX model in a child process first, with limited memory and processor time.

The child checks the file and computes an image with it. A model on which that crashes, or takes too long or too much
memory, is refused.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..errors import ModelError, one_line
from ..system import memory
from ..system.child_process import end_with
from .embedder_config import EmbedderConfig

_SECONDS = 120  # seconds of processor time, plus one for every _RATE bytes
_RATE = 10_000_000
_MEMORY = 1 << 32  # bytes, besides ten times the size of the file
_PATIENCE = 10  # times the seconds may pass while the machine is busy


def examine(data: bytes, folder: Path | None, config: EmbedderConfig) -> tuple[bytes, str, EmbedderConfig]:
    """Open an ONNX model in a child process.

    Args:
        data: the contents of the ONNX file.
        folder: where its data files lie; None if it must not have any.
        config: its settings.

    Returns:
        The ONNX file with its data, the SHA-256 of the file and its data files, and the settings with `size` and
        `embedding`.

    Raises ModelError, with the reason only, if the packages are missing or the model is not usable.
    """
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        raise ModelError("needs ONNX Runtime; install it with: pip install 'transhash[onnx]'")
    request = {
        "parent": os.getpid(),
        "folder": None if folder is None else os.path.realpath(folder),
        "config": asdict(config),
        "size": len(data),
        "seconds": (seconds := _SECONDS + len(data) // _RATE),
    }
    answer, rest = _exchange(json.dumps(request).encode() + b"\n" + data, _PATIENCE * seconds)
    if "reason" in answer:
        raise ModelError(str(answer["reason"]))
    found = msgspec.convert(answer["config"], EmbedderConfig)
    return rest if answer["changed"] else data, str(answer["digest"]), found


def _exchange(request: bytes, timeout: int) -> tuple[dict[str, Any], bytes]:
    """Start the child, send it a request, and return its answer and the data after that."""
    home = str(Path(__file__).parents[2])
    paths = [home, *filter(None, sys.path)]  # not the working directory, which is not trusted
    with subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
    ) as child:
        try:
            output, _ = child.communicate(request, timeout=timeout)
        except subprocess.TimeoutExpired:
            output = b""
        finally:
            child.kill()
    line, _, rest = output.partition(b"\n")
    if not line:
        raise ModelError("computing an image with it crashed, or took too long or too much memory")
    answer: dict[str, Any] = json.loads(line)
    return answer, rest


def serve() -> None:
    """Run the child process: read a request from standard input, and answer on standard output."""
    request = json.loads(sys.stdin.buffer.readline())
    end_with(request["parent"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    answers = _answers_only()
    data = sys.stdin.buffer.read(request["size"])
    rest = b""
    try:
        from . import onnx_embedder, onnx_file

        _limit(len(data), request["seconds"])
        folder = None if request["folder"] is None else Path(request["folder"])
        whole, digest = onnx_file.read(data, folder)
        config = msgspec.convert(request["config"], EmbedderConfig)
        embedder = onnx_embedder.OnnxEmbedder(data if whole is None else whole, config)
        answer = {"config": asdict(embedder.config), "digest": digest, "changed": whole is not None}
        rest = whole or b""
    except ModelError as error:
        answer = {"reason": str(error)}
    except MemoryError:
        answer = {"reason": "needs more memory than its size explains"}
    except Exception as error:  # the libraries may raise anything on a damaged file
        answer = {"reason": f"{type(error).__name__}: {one_line(error)}"}
    with answers:
        answers.write(json.dumps(answer).encode() + b"\n" + rest)


def _answers_only() -> BinaryIO:
    """Return standard output, to which nothing else is written from now on: native libraries print there, too."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return answers


def _limit(size: int, seconds: int) -> None:
    memory.limit_growth(_MEMORY + 10 * size)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


if __name__ == "__main__":
    serve()
