# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Chromium without a screen, told what to do over its DevTools protocol: pages are opened, clicked,
typed into and photographed as a user would."""

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import time

from .env import SLOW
from .tap import Failed, skip
from .temp import temp_dir

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
           "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
           "--window-size=1200,760", "--lang=en")


def library():
    try:
        import websockets  # pylint: disable=import-outside-toplevel
    except ImportError:
        skip("no python3-websockets")
    return websockets


class Browser:
    """async with Browser() as browser: tab = await browser.open(url)"""

    def __init__(self):
        self.program = next((p for p in map(shutil.which, PROGRAMS) if p), None)
        if self.program is None:
            skip("no chromium")
        self.websockets = library()
        self.home = temp_dir("browser")
        self.process = None
        self.socket = None
        self.numbers = itertools.count(1)
        self.answers = {}
        self.reader = None

    async def __aenter__(self):
        self.process = subprocess.Popen(
            [self.program, *OPTIONS, f"--user-data-dir={self.home}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self.home)}, start_new_session=True)
        try:
            self.socket = await self.websockets.connect(await self._address(), max_size=None,
                                                        compression=None)
        except BaseException:
            self._end()
            raise
        self.reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_):
        try:
            await asyncio.wait_for(self.command("Browser.close"), 10)
        except (asyncio.TimeoutError, self.websockets.ConnectionClosed):
            pass
        self.reader.cancel()
        self._end()

    def _end(self):
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait(10)

    async def _address(self):
        """Where it listens: it writes that into a file once it does."""
        file = os.path.join(str(self.home), "DevToolsActivePort")
        deadline = time.monotonic() + 30 * SLOW
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with open(file, encoding="ascii") as text:
                    port, path = text.read().split()
                return f"ws://127.0.0.1:{port}{path}"
            except (OSError, ValueError):
                await asyncio.sleep(0.05)
        raise Failed("the browser does not start")

    async def _read(self):
        async for text in self.socket:
            message = json.loads(text)
            waiting = self.answers.pop(message.get("id"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def command(self, method, session=None, **params):
        number = next(self.numbers)
        self.answers[number] = asyncio.get_running_loop().create_future()
        waiting = self.answers[number]
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        await self.socket.send(json.dumps(message))
        answer = await asyncio.wait_for(waiting, 30 * SLOW)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def open(self, url):
        """A new tab that shows the page."""
        target = await self.command("Target.createTarget", url="about:blank")
        attached = await self.command("Target.attachToTarget", targetId=target["targetId"],
                                      flatten=True)
        tab = Tab(self, target["targetId"], attached["sessionId"])
        await tab.command("Page.enable")
        await tab.command("Page.navigate", url=url)
        await tab.wait("document.readyState === 'complete'")
        return tab


class Tab:
    def __init__(self, browser, target, session):
        self.browser = browser
        self.target = target
        self.session = session

    async def command(self, method, **params):
        return await self.browser.command(method, self.session, **params)

    async def value(self, expression):
        """What the expression is in the page; of a promise, what it comes to."""
        got = await self.command("Runtime.evaluate", expression=expression, returnByValue=True,
                                 awaitPromise=True)
        if "exceptionDetails" in got:
            raise Failed(f"{expression}: {got['exceptionDetails']}")
        return got["result"].get("value")

    async def wait(self, expression, seconds=20):
        """Until the expression is true in the page."""
        deadline = time.monotonic() + seconds * SLOW
        while True:
            if await self.value(f"Boolean({expression})"):
                return
            if time.monotonic() > deadline:
                shown = await self.value("document.body.innerText")
                raise Failed(f"{expression} does not come true; the page shows {shown!r}")
            await asyncio.sleep(0.02)

    async def click(self, selector):
        """With the mouse, in the middle of the element."""
        await self.command("Page.bringToFront")
        where = await self.value(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            await self.command("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1],
                               button="left", clickCount=1)

    async def type(self, text):
        """With the keyboard, wherever the focus is."""
        await self.command("Input.insertText", text=text)

    async def press_enter(self):
        for kind in ("keyDown", "keyUp"):
            await self.command("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter",
                               windowsVirtualKeyCode=13, text="\r" if kind == "keyDown" else "")

    async def text(self):
        return await self.value("document.body.innerText")

    async def screenshot(self, file):
        shot = await self.command("Page.captureScreenshot", format="png")
        with open(file, "wb") as out:
            out.write(base64.b64decode(shot["data"]))

    async def close(self):
        await self.browser.command("Target.closeTarget", targetId=self.target)
