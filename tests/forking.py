"""Processes forked from one that has the imports of the tests: real ones, but without seconds of imports each.

For tests of what a process does, and not of how a command starts.
"""

import atexit
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from multiprocessing import util
from pathlib import Path
from typing import IO, Any, NoReturn

TH = "from transhash_cli.main import main; main()"
_LENGTH = struct.Struct("=Q")
_STATUS = struct.Struct("=i")


class Process:
    """A process of `Server.start`, with what the tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, ended: int, streams: Mapping[str, int]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended
        self.stdout, self.stderr = (
            os.fdopen(streams[name], errors="surrogateescape") if name in streams else None
            for name in ("stdout", "stderr")
        )

    def poll(self) -> int | None:
        """Return the exit code if the process has ended."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read what the process writes until it ends."""
        read: dict[IO[str], str] = {}

        def drain(stream: IO[str]) -> None:
            with stream:
                read[stream] = stream.read()

        readers = [threading.Thread(target=drain, args=[one]) for one in (self.stdout, self.stderr) if one]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        out, err = (read.get(stream, "") if stream else "" for stream in (self.stdout, self.stderr))
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill the process if it still runs, and close the pipes."""
        self.kill()
        self.wait()
        for stream in filter(None, (self.stdout, self.stderr)):
            stream.close()

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            self.returncode = os.waitstatus_to_exitcode(_STATUS.unpack(os.read(self._ended, _STATUS.size))[0])
            os.close(self._ended)
        return self.returncode


class Server:
    """The process that forks. Start it before there are threads."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._socket.close()
            _serve(other)
        other.close()

    def start(
        self,
        code: str,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pipes: Iterable[str] = (),
        group: bool = False,
    ) -> Process:
        """Execute Python code in a new process.

        Args:
            code: What follows `python -c`.
            arguments: The rest of `sys.argv`.
            env: Further environment variables. Libraries that are loaded already do not read them again.
            cwd: The working directory.
            pipes: Which of stdout and stderr the caller reads; the others are discarded.
            group: Whether it leads a group of processes.
        """
        request = {
            "code": code,
            "arguments": [os.fspath(one) if isinstance(one, Path) else str(one) for one in arguments],
            "env": {**os.environ, **(env or {})},
            "cwd": str(cwd or Path.cwd()),
            "group": group,
        }
        content = json.dumps(request).encode()
        read, write = {}, []
        for name in ("stdout", "stderr"):
            if name in pipes:
                read[name], theirs = os.pipe()
            else:
                theirs = os.open(os.devnull, os.O_WRONLY)
            write.append(theirs)
        ended, theirs = os.pipe()
        write.append(theirs)
        socket.send_fds(self._socket, [_LENGTH.pack(len(content))], write)
        self._socket.sendall(content)
        for one in write:
            os.close(one)
        return Process(_LENGTH.unpack(_receive(self._socket, _LENGTH.size))[0], ended, read)

    def run(
        self, code: str, *arguments: object, pipes: Iterable[str] = ("stdout", "stderr"), **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Execute Python code in a new process, as `start` does, and wait for its end."""
        process = self.start(code, *arguments, pipes=pipes, **options)
        try:
            out, err = process.communicate(600)
            return subprocess.CompletedProcess(code, process.wait(), out, err)
        finally:
            process.close()

    def stop(self) -> None:
        """End the process that forks."""
        self._socket.close()
        os.waitpid(self._pid, 0)


def _receive(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = connection.recv(size - len(content))
        if not more:
            raise EOFError
        content += more
    return content


def _serve(connection: socket.socket) -> NoReturn:
    """Fork on request and report who has ended, until the other end is closed."""
    kept = connection.fileno()
    os.closerange(3, kept)  # pipes whose other ends wait until all have closed them
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 1 << 16 else 1 << 16)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *about: None)
    woken, wake = os.pipe()
    for one in (woken, wake):
        os.set_blocking(one, False)
    signal.set_wakeup_fd(wake)
    ends: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([kept, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report(ends)
        if kept in ready:
            header, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, 3)
            if not header:
                os._exit(0)
            request = json.loads(_receive(connection, _LENGTH.unpack(header)[0]))
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                connection.close()
                for one in (woken, wake, *ends.values()):
                    os.close(one)
                _execute(request, streams)
            for one in streams[:2]:
                os.close(one)
            ends[child] = streams[2]
            connection.sendall(_LENGTH.pack(child))


def _report(ends: dict[int, int]) -> None:
    """Pass on how processes have ended."""
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        os.write(ends[pid], _STATUS.pack(status))
        os.close(ends.pop(pid))


def _execute(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Become a process as Python starts it, execute the code, and end as Python does."""
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit._clear()  # what the tests registered
    if request["group"]:
        os.setpgid(0, 0)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for place, one in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
        if place < 3:
            os.dup2(one, place)
        os.close(one)
    sys.stdin = os.fdopen(0)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace")
    sys.argv = ["-c", *request["arguments"]]
    code = 0
    try:
        exec(request["code"], {"__name__": "__main__"})
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if not isinstance(ended.code, int | None):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        threading._shutdown()
        util._exit_function()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
