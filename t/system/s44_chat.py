#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The chat example in a real browser: two tabs, real clicks and keys, the plugin replaced while they
talk. A screenshot of the first tab is left in the build tree, t/system/chat.png."""

import contextlib
import os

from obtest.browser import Browser
from obtest.env import BUILD, EXAMPLES, MODULES, TOP
from obtest.nodes import Node, all_ended, free_port
from obtest.tap import case, check, contains, equal, main

PAGE = f"{TOP}/examples/chat/page"
CLIENT = f"{TOP}/clients/js/obhost.js"
SCREENSHOT = os.path.join(BUILD, "t", "system", "chat.png")


@contextlib.contextmanager
def chat():
    port = free_port()
    node = Node("chat", "chat", rpc=None, module_dirs=[MODULES, EXAMPLES],
                modules=["proxy", "codec_json", {"name": "http_admin", "admin": True},
                         {"name": "chat", "conf": {"page": PAGE, "client": CLIENT, "port": port}}],
                listen=[{"transport": "ws", "codec": "json", "port": port}])
    node.start()
    try:
        yield node
    finally:
        node.stop()


async def enter(browser, node, name, room=None):
    tab = await browser.open(f"http://127.0.0.1:{node.http_port}/")
    await tab.click("#name")
    await tab.type(name)
    if room is not None:
        await tab.value("document.getElementById('room').value = ''")
        await tab.click("#room")
        await tab.type(room)
    await tab.click("#enter button")
    return tab


async def say(tab, text):
    await tab.click("#text")
    await tab.type(text)
    await tab.press_enter()


def said(text):
    return f"[...document.querySelectorAll('#talk .body')].some(b => b.textContent === {text!r})"


def people(*names):
    return ("[...document.querySelectorAll('#people li')].map(p => p.lastChild.textContent)"
            f".join() === {','.join(sorted(names))!r}")


@case("two people talk, the plugin is replaced between their words, and nobody notices", timeout=90)
async def talk():
    with chat() as node:
        async with Browser() as browser:
            ada = await enter(browser, node, "Ada")
            await ada.wait(people("Ada (you)"))
            grace = await enter(browser, node, "Grace")
            await grace.wait(people("Ada", "Grace (you)"))
            await ada.wait(people("Ada (you)", "Grace"))
            await say(ada, "Has anybody tried to replace the plugin while we talk?")
            await grace.wait(said("Has anybody tried to replace the plugin while we talk?"))
            await say(grace, "Not yet. Go ahead: <b>nothing</b> can happen.")
            await ada.wait(said("Not yet. Go ahead: <b>nothing</b> can happen."))
            for generation in (2, 3):
                equal(node.reload("chat", force=True)["result"], "switched")
                for tab in (ada, grace):
                    await tab.wait(f"document.querySelector('#code').textContent"
                                   f".endsWith('generation {generation}')")
                await say(grace, f"Still here after reload {generation}.")
                await ada.wait(said(f"Still here after reload {generation}."))
            contains(await ada.text(), "You are still connected.")
            equal(await ada.value("document.querySelectorAll('#talk b').length"), 0)
            equal(node.metric("obhost_client_opened_total"), 2)
            linus = await enter(browser, node, "Linus")
            await linus.wait(said("Still here after reload 3."))
            await ada.wait(people("Ada (you)", "Grace", "Linus"))
            await ada.value("new Promise(r => setTimeout(r, 400))")
            await ada.screenshot(SCREENSHOT)
            await linus.close()
            await ada.wait(people("Ada (you)", "Grace"))
            contains(await ada.text(), "Linus left")
    check(os.path.getsize(SCREENSHOT) > 10000)


@case("a name that is taken is refused, a room of one's own is quiet", timeout=60)
async def rooms():
    with chat() as node:
        async with Browser() as browser:
            ada = await enter(browser, node, "Ada")
            await ada.wait(people("Ada (you)"))
            other = await enter(browser, node, "Ada")
            await other.wait("document.querySelector('#why').textContent.includes('has that name')")
            quiet = await enter(browser, node, "Ada", "attic")
            await quiet.wait("document.querySelector('#title').textContent === '# attic'")
            await say(ada, "to the lobby")
            await ada.wait(said("to the lobby"))
            await say(quiet, "to the attic")
            await quiet.wait(said("to the attic"))
            equal(await quiet.value(said("to the lobby")), False)
            equal(await ada.value(said("to the attic")), False)


@case("whoever takes another name and room leaves the old ones, and no one else does", timeout=60)
async def another_name():
    with chat() as node:
        async with Browser() as browser:
            ada = await enter(browser, node, "Ada")
            grace = await enter(browser, node, "Grace")
            await grace.wait(people("Ada", "Grace (you)"))
            linus = await enter(browser, node, "Linus", "attic")
            await linus.wait(people("Linus (you)"))
            await ada.value("client.request('chat.enter', { name: 'Grace', room: 'attic' })")
            await linus.wait(people("Grace", "Linus (you)"))
            await grace.wait(people("Grace (you)"))
            contains(await grace.text(), "Ada left")
            await ada.value("client.request('chat.enter', { name: 'Augusta', room: 'attic' })")
            await linus.wait(people("Augusta", "Linus (you)"))
            ken = await enter(browser, node, "Ken")
            await ken.wait(people("Grace", "Ken (you)"))
            await grace.wait(people("Grace (you)", "Ken"))
            check("Grace left" not in await grace.text())
            await ada.close()
            await linus.wait(people("Linus (you)"))


@case("the server goes away and comes back: the page says so, and goes on", timeout=60)
async def back():
    with chat() as node:
        async with Browser() as browser:
            ada = await enter(browser, node, "Ada")
            await ada.wait(people("Ada (you)"))
            await say(ada, "before")
            await ada.wait(said("before"))
            node.kill()
            await ada.wait("document.querySelector('#state').textContent === 'connecting again'")
            node.start()
            await ada.wait("document.querySelector('#state').textContent === 'connected'")
            await say(ada, "after")
            await ada.wait(said("after"))


if __name__ == "__main__":
    main(all_ended)
