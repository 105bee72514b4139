# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Clients that number their messages and account for every single one, while nodes fail under them.

Run as a program it is the clients: sessions that send at a steady rate, each with a tag of its own
and numbers from 0. A message's id is taken in turn from a range, so that an answer without a number,
a typed error, is known to be the end of one message too. What must hold is checked here and counted
as `wrong` where it does not:

- a message ends once: by an answer, by a typed error, or with its connection; and by its deadline;
- an answer has the number and the tag of the message, and the same session always;
- no two connections are told the same session;
- what one node answers to one session is in the order it was sent; of sessions whose messages any node
  may take those that were not are in `overtaken`.

A connection that ends is made anew, as another session. One line of JSON goes out for each line that
comes in; `finish` is the last one."""

import asyncio
import base64
import collections
import itertools
import json
import os
import subprocess
import sys
import threading
import time

from .env import SLOW, TOP
from .peer import node_id
from .seed import BINARY, CLOSE, HEADER, PING, PONG, frame, packet
from .tap import Failed, at_end

IDS = 256          # of a kind; a message's id is used again after so many
FREE, STICKY = 6000, 7000  # the first id of those that any node may take, and that stay with one
SHOWN = 20         # of what is wrong
TIMEOUT = 2 * SLOW   # seconds; call_timeout of the nodes
GRACE = 2 * SLOW     # seconds beyond that which a client grants
AGAIN = 0.2        # seconds until a connection that was lost is made anew

# What the services run. A message that comes again, or after a later one of its session, is counted.
SOURCE = """
#include <string.h>

#include <obhost/obhost.h>

#define PLACES 65536 /* a power of 2 */

struct last {
	int64_t who;
	int64_t n;
};

static struct last seen[PLACES]; /* by tag; a session that comes long after takes the place */
static int doubled, disorder, overtaken;

static void look(ob_ctx *ctx, int64_t who, int64_t n, bool free)
{
	struct last *last = &seen[(uint64_t)who % PLACES];

	if (last->who == who && last->n == n) {
		ob_count(ctx, doubled, 1);
	} else if (last->who == who && last->n > n) {
		ob_count(ctx, free ? overtaken : disorder, 1);
	}
	if (last->who != who || last->n < n) {
		*last = (struct last){who, n};
	}
}

static void answer(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	ob_node_info node = {.size = sizeof(node)};
	char session[OB_SESSION_TEXT] = "";
	int64_t who = ob_req_int(ctx, req, "who", -1);
	int64_t n = ob_req_int(ctx, req, "n", -1);

	if (ob_req_view(ctx, req, &view) != 0 || ob_node(ctx, &node) != 0) {
		return;
	}
	ob_session_text(ctx, view.session, session, sizeof(session));
	look(ctx, who, n, view.id < STICKY);
	ob_reply_json(ctx, req, "{s:i, s:I, s:I, s:s, s:s}", "code", 200, "n", n, "who", who,
		      "session", session, "node", node.name);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	doubled = ob_counter(ctx, "numbered_doubled", "Messages that came twice");
	disorder = ob_counter(ctx, "numbered_disorder", "Messages that came after a later one");
	overtaken = ob_counter(ctx, "numbered_overtaken",
			       "Messages of no state that came after a later one");
	for (uint32_t i = 0; i < IDS; i++) {
		int rc = ob_on_id(ctx, FREE + i, answer);

		rc = rc < 0 ? rc : ob_on_id(ctx, STICKY + i, answer);
		if (rc < 0) {
			return rc;
		}
	}
	return doubled < 0 || disorder < 0 || overtaken < 0 ? -1 : 0;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


# ---------------------------------------------------------------- the clients

class Account:
    """What became of all messages."""

    def __init__(self):
        self.sent = 0
        self.codes = collections.Counter()     # by code, of answers and typed errors
        self.by_node = collections.Counter()   # answers, by who gave them
        self.closed = collections.Counter()    # messages that ended with a connection, by port
        self.lost = collections.Counter()      # connections that ended, by port
        self.refused = collections.Counter()   # attempts to connect that failed, by port
        self.texts = collections.Counter()     # of typed errors
        self.overtaken = []                    # answers of no state that came after a later one
        self.sessions = {}                     # session: tag
        self.wrong = 0
        self.what = []
        self.slowest = 0.0
        self.open = 0
        self.connected = 0

    def complain(self, text):
        self.wrong += 1
        if len(self.what) < SHOWN:
            self.what.append(text)

    def report(self):
        return {"sent": self.sent, "codes": dict(self.codes), "by_node": dict(self.by_node),
                "closed": dict(self.closed), "lost": dict(self.lost), "texts": dict(self.texts),
                "refused": dict(self.refused), "wrong": self.wrong, "what": self.what,
                "overtaken": self.overtaken[:SHOWN],
                "slowest": self.slowest, "open": self.open, "connected": self.connected}

    def worst(self, took):
        self.slowest = max(self.slowest, took)


def identity(session):
    """A session's text with the proxy's id; a node that does not know its name writes that."""
    proxy, _, number = session.rpartition("-")
    return f"{proxy if proxy.startswith('#') else f'#{node_id(proxy):016x}'}-{number}"


class Session:
    """One connection's life."""

    tags = itertools.count(int(time.time() * 1000) << 12)  # no other clients have them

    def __init__(self, account, address, first_id):
        self.account = account
        self.host, self.port = address
        self.first_id = first_id
        self.tag = next(Session.tags)
        self.number = 0
        self.waiting = {}          # id: number, when sent
        self.name = None           # of the session, once told
        self.last = {}             # node: the last number it answered
        self.reader = self.writer = None

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        key = base64.b64encode(os.urandom(16)).decode()
        self.writer.write((f"GET / HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
                           "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
                           f"\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"no upgrade: {head!r}")

    def send(self):
        message_id = self.first_id + self.number % IDS
        if message_id in self.waiting:
            return  # as many as there are ids wait
        self.waiting[message_id] = (self.number, time.monotonic())
        body = b'{"who":%d,"n":%d}' % (self.tag, self.number)
        self.writer.write(frame(packet(message_id, body)))
        self.number += 1
        self.account.sent += 1
        self.account.open += 1

    async def read(self):
        """Until the connection ends."""
        while True:
            head = await self.reader.readexactly(2)
            length = head[1] & 0x7f
            if length >= 126:
                wide = await self.reader.readexactly(2 if length == 126 else 8)
                length = int.from_bytes(wide, "big")
            data = await self.reader.readexactly(length)
            opcode = head[0] & 15
            if opcode == PING:
                self.writer.write(frame(data, PONG))
            elif opcode == CLOSE:
                self.writer.write(frame(data, CLOSE))
                return
            elif opcode == BINARY:
                self.packets(data)

    def packets(self, data):
        while data:
            length, message_id, _ = HEADER.unpack_from(data)
            self.ended(message_id, json.loads(data[HEADER.size:length]))
            data = data[length:]

    def ended(self, message_id, answer):
        found = self.waiting.pop(message_id, None)
        if found is None:
            self.account.complain(f"{self.tag} on {self.port}: {answer} of id {message_id} is the "
                                  "end of no message")
            return
        number, when = found
        self.account.open -= 1
        self.account.worst(time.monotonic() - when)
        code = answer.get("code")
        self.account.codes[str(code)] += 1
        if code == 200:
            self.answered(number, answer)
        else:
            self.account.texts[f"{code} {answer.get('error')}"] += 1
            if not isinstance(code, int) or not answer.get("error"):
                self.account.complain(f"{self.tag}: no typed error: {answer}")

    def answered(self, number, answer):
        node, session = answer["node"], identity(answer["session"])
        self.account.by_node[node] += 1
        if answer["n"] != number or answer["who"] != self.tag:
            self.account.complain(f"{self.tag}: {answer} instead of number {number}")
            return
        if self.name is None and self.account.sessions.setdefault(session, self.tag) == self.tag:
            self.name = session
        if self.name != session:
            self.account.complain(f"{self.tag} is {self.name}: {answer}")
        if self.last.get(node, -1) >= number:
            text = f"{self.tag}: {node} answered {number} after {self.last[node]}"
            if self.first_id == FREE:
                self.account.overtaken.append(text)
            else:
                self.account.complain(text)
        self.last[node] = max(number, self.last.get(node, -1))

    def overdue(self, deadline):
        """Messages that have waited too long are wrong, and no longer waited for."""
        now = time.monotonic()
        for message_id, (number, when) in list(self.waiting.items()):
            if now - when > deadline:
                del self.waiting[message_id]
                self.account.open -= 1
                self.account.complain(f"{self.tag} on {self.port}: number {number} has had no end "
                                      f"for {now - when:.1f} s")

    def over(self):
        """The connection is gone."""
        if self.waiting:
            self.account.closed[str(self.port)] += len(self.waiting)
            self.account.open -= len(self.waiting)
            self.waiting.clear()
        if self.writer is not None:
            self.writer.close()


class Clients:
    def __init__(self, addresses, count, rate):
        self.addresses = addresses  # of proxies; no two have one port
        self.count = count
        self.pause = count / rate
        self.account = Account()
        self.sending = True
        self.deadlines = {port: TIMEOUT + GRACE for _, port in addresses}
        self.current = set()
        self.tasks = []

    async def client(self, number):
        address = self.addresses[number % len(self.addresses)]
        first_id = (FREE, STICKY)[number // len(self.addresses) % 2]
        await asyncio.sleep(self.pause * number / self.count)
        while self.sending:
            session = Session(self.account, address, first_id)
            try:
                await asyncio.wait_for(session.connect(), 10 * SLOW)
                await self.live(session)
                self.account.lost[str(session.port)] += 1
            except (OSError, EOFError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                self.account.refused[str(session.port)] += 1
            finally:
                session.over()
            await asyncio.sleep(AGAIN)

    async def live(self, session):
        self.current.add(session)
        self.account.connected += 1
        reader = asyncio.ensure_future(session.read())
        try:
            due = time.monotonic()
            while not reader.done():
                session.overdue(self.deadlines[session.port])
                if self.sending:
                    session.send()
                    due = max(due + self.pause, time.monotonic() - 1)
                await asyncio.wait({reader}, timeout=max(0.001, due - time.monotonic())
                                   if self.sending else 0.05)
            if reader.exception() is not None and not isinstance(
                    reader.exception(), (OSError, EOFError)):
                self.account.complain(f"{session.tag}: {reader.exception()!r}")
        finally:
            reader.cancel()
            self.current.discard(session)
            self.account.connected -= 1

    async def finish(self):
        """No more is sent; what is under way ends, each as it may. Then all connections close."""
        self.sending = False
        while any(session.waiting for session in self.current):
            await asyncio.sleep(0.02)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def run(self):
        self.tasks = [asyncio.ensure_future(self.client(n)) for n in range(self.count)]
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while True:
            line = (await reader.readline()).decode().split()
            if not line:
                return
            if line[0] == "patience":
                self.deadlines[int(line[1])] = TIMEOUT + GRACE + float(line[2])
            elif line[0] == "finish":
                await self.finish()
            print(json.dumps(self.account.report()), flush=True)
            if line[0] == "finish":
                return


# ---------------------------------------------------------------- the test's side

def _counters(report):
    return {key: collections.Counter(report[key])
            for key in ("codes", "by_node", "closed", "lost", "texts", "refused")}


class Numbered:
    """The clients as a process of their own: `count` sessions, spread over the proxies, `rate`
    messages a second in all."""

    def __init__(self, proxies, count=40, rate=200):
        self.proxies = proxies
        addresses = ",".join(f"{node.address}:{node.ws_port}" for node in proxies)
        self._process = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, "-m", "obtest.numbered", addresses, str(count), str(rate / SLOW)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(TOP / "t/system/lib")})
        at_end(self._destroy)
        self._lock = threading.Lock()
        self._before = None
        self.last = None
        self.count = count

    def _say(self, *words):
        with self._lock:
            self._process.stdin.write(" ".join(map(str, words)) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise Failed("the clients have ended")
        self.last = json.loads(line)
        return self.last

    def report(self):
        """All since the start; fails when something was wrong."""
        return self._checked(self._say("report"))

    def patience(self, node, seconds):
        """Clients of this proxy grant so much more than the deadline: it is frozen for so long."""
        self._say("patience", node.ws_port, seconds)

    def window(self, seconds):
        """What came in so much time from now on: counters by code, by node and the rest."""
        before = _counters(self.report())
        time.sleep(seconds)
        after = _counters(self.report())
        return {key: after[key] - before[key] for key in after}

    def finish(self):
        report = self._say("finish")
        self._process.wait(30 * SLOW)
        return self._checked(report)

    @staticmethod
    def _checked(report):
        if report["wrong"]:
            raise Failed(f"{report['wrong']} things are wrong:\n" + "\n".join(report["what"]))
        return report

    @staticmethod
    def shown(report):
        errors = {code: n for code, n in sorted(report["codes"].items()) if code != "200"}
        words = [f"{report['sent']} messages: {report['codes'].get('200', 0)} answered"]
        words += [f"{n} ended with {code}" for code, n in errors.items()]
        words += [f"{sum(report['closed'].values())} with their connection",
                  f"{sum(report['lost'].values())} connections lost",
                  f"slowest {report['slowest']:.2f} s"]
        return ", ".join(words)

    def _destroy(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._destroy()


def main():
    pairs = [address.rpartition(":") for address in sys.argv[1].split(",")]
    addresses = [(host, int(port)) for host, _, port in pairs]
    asyncio.run(Clients(addresses, int(sys.argv[2]), float(sys.argv[3])).run())


if __name__ == "__main__":
    main()
