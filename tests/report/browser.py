"""A headless Chromium, driven by DevTools commands through a pipe, without a port, a driver or a library.

Protocol: https://chromedevtools.github.io/devtools-protocol/; messages are JSON, each with a NUL byte behind it.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_SILENT = 300.0  # seconds without output after which the browser counts as failed
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)
_PIPES = 'exec "$0" "$@" 3<&{read} 4>&{write}'  # the browser reads from descriptor 3 and writes to 4


class Browser:
    """One tab, and the events in it since the last page was opened."""

    def __init__(self, profile: Path) -> None:
        theirs, self._commands = os.pipe()
        self._answers, ours = os.pipe()
        arguments = [PROGRAM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", _PIPES.format(read=theirs, write=ours), *map(str, arguments)],
            pass_fds=(theirs, ours),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(ours)
        self.events: list[dict[str, Any]] = []
        self._received = b""
        self._sent = 0
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and return its result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, width: int = 1100, scheme: str = "light") -> None:
        """Open a page and wait until its charts are drawn."""
        self.resize(width, 900)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        self.settle("section > .plot .chart")

    def settle(self, charts: str) -> None:
        """Wait until charts are drawn."""
        until = time.monotonic() + _SILENT
        while self.run(f"document.querySelector('{charts}:not([data-drawn])') !== null"):
            assert time.monotonic() < until, self.complaints()
            time.sleep(0.05)

    def resize(self, width: int, height: int) -> None:
        mobile = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page, regardless of its content security policy."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def point_at(self, selector: str) -> None:
        """Move the mouse to the centre of an element."""
        box = f"document.querySelector('{selector}')"
        self.run(f"{box}.scrollIntoView({{block: 'center'}})")
        middle = f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box}.getBoundingClientRect())"
        x, y = self.run(middle)
        for place in (x - 3, x):
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=place, y=y)

    def press(self, key: str) -> None:
        text = "\r" if key == "Enter" else ""
        code = {"Enter": 13, "Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def complaints(self) -> list[dict[str, Any]]:
        """Console messages of the page and the browser, and uncaught exceptions."""
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    def requests(self) -> list[str]:
        """The requested addresses, including that of the page, without data: URLs."""
        asked = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in asked if not one["request"]["url"].startswith("data:")]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], _SILENT)
            chunk = os.read(self._answers, 1 << 16) if ready else b""
            assert chunk, "the browser says nothing"
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)
