# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Many clients: obbench as a process of its own, which checks every answer; and what a node has of
the system's before and after."""

import json
import os
import signal
import subprocess
import threading

from .env import OBBENCH, SANITIZE, SLOW
from .tap import Failed, at_end, eventually

# A handler whose answers carry the number of the message and the version of the code. With {"ms":
# N} it answers after so long, from a timer.
NUMBERED = """
#include <obhost/obhost.h>

#ifndef V
#define V 1
#endif
#ifndef ID
#define ID 6001
#endif
#define PLACES 4096

static ob_req kept[PLACES];
static unsigned next;

static void say(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i, s:I}", "code", 200, "v", V, "seq",
		      ob_req_int(ctx, req, "seq", -1));
}

static void later(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_req *req = arg;

	say(ctx, *req);
}

static void answer(ob_ctx *ctx, ob_req req)
{
	int64_t ms = ob_req_int(ctx, req, "ms", 0);

	if (ms == 0) {
		say(ctx, req);
		return;
	}
	ob_req *place = &kept[next++ % PLACES];

	*place = req;
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, (uint64_t)ms, 0, later, place);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, ID, answer);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""


class Load:
    """`connections` clients with numbered messages to `message_id`, `rate` of them in a second over
    all connections, until told to stop. Every answer must come once, in order, on its connection,
    with code 200, and no connection may end."""

    def __init__(self, port, message_id, connections=1000, rate=3000, idle=0, args=()):
        self.connections = connections
        self.report = None
        self._process = subprocess.Popen(  # pylint: disable=consider-using-with
            [OBBENCH, "--json", "--announce", "--verify", "--versions", "--check-code",
             "-i", str(message_id), "-c", str(connections), "-R", str(max(1, rate // SLOW)),
             "--idle", str(idle), "-t", "86400", "-w", "0", *args, f"127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        at_end(self._destroy)
        if self._process.stderr.readline() != "connected\n":
            raise Failed(f"obbench: {self._process.stderr.read()}")

    def busy(self):
        """True; fails when obbench has ended before it should."""
        if self._process.poll() is not None:
            raise Failed(f"obbench has ended: {self._process.stdout.read()}")
        return True

    def finish(self, versions=None):
        """Stops sending, waits for what is under way and checks the whole; obbench's report.
        `versions`: those that may have answered, each of which must."""
        self._process.send_signal(signal.SIGTERM)
        out, err = self._process.communicate(timeout=90 * SLOW)
        self.report = json.loads(out)
        shown = f"{out} {err}"
        if self.report["errors"] or self._process.returncode != 0:
            raise Failed(f"not all is well with {self}: {shown}")
        if self.report["answered"] != self.report["sent"] or not self.report["sent"]:
            raise Failed(f"answers are missing, {self}: {shown}")
        if versions is not None and set(map(int, self.report["versions"])) != set(versions):
            raise Failed(f"answers of versions {self.report['versions']}, expected {versions}")
        return self.report

    def __str__(self):
        r = self.report
        return (f"{r['connections']}+{r['idle']} connections, {r['sent']} messages: "
                f"{r['lost']} lost, {r['duplicated']} doubled, {r['reordered']} misordered, "
                f"{r['misdelivered']} misdelivered, {sum(r['codes'].values())} refused; "
                f"{r['broken']} connections closed; the version changed {r['version_changes']} "
                "times on them")

    def _destroy(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._destroy()


class ConnectStorm:
    """Clients that come, ask once and go, fifty at a time, one lot after the other."""

    LOT = 50

    def __init__(self, port, message_id):
        self.connections = 0
        self.error = None
        self._command = [OBBENCH, "--json", "--verify", "--check-code", "-i", str(message_id),
                         "-c", str(self.LOT), "-n", str(self.LOT), f"127.0.0.1:{port}"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set() and self.error is None:
            done = subprocess.run(self._command, stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, check=False)
            if done.returncode != 0:
                self.error = f"{done.stdout} {done.stderr}"
            self.connections += self.LOT
            self._stop.wait(0.1)

    def finish(self):
        """The number of connections; fails if one was refused or did not get its answer."""
        self._stop.set()
        self._thread.join(60 * SLOW)
        if self.error is not None:
            raise Failed(f"a client that came was not served: {self.error}")
        return self.connections

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60 * SLOW)


class Footprint:
    """What a node has of the system's: to be the same when all is over.

    Of memory three things are looked at. What is in use on the heap, without the chunks for output
    (64 KiB each, as many as connections had an answer in one turn, kept for a while). What is
    resident beside the heap: code, mappings, stacks. And what of the heap is resident, which grows
    without any reload too, as chunks are taken and given back and more of their pages have been
    touched: a turn that was late answers all connections at once, and each has a chunk then. Its
    limit comes from that and from a control, the same load for a while with nothing else."""

    REST = 1024       # KiB
    REPORTS = 3072    # KiB on the heap: the node keeps the reports of its last 64 transactions
    TOUCHED = 4096    # KiB of the heap that may become resident, or
    CONTROLS = 4      # so many times what became so in the control, and
    CHUNK = 12        # KiB for each connection that had no chunk yet: its first pages

    def __init__(self, node):
        self.node = node
        self.connections = 0
        self.fds, self.threads, self.maps = self._counts()
        self.heap, self.touched, self.rest, self.chunks = self._memory()

    def _counts(self):
        pid = self.node.pid
        return self.node.fds(), len(os.listdir(f"/proc/{pid}/task")), len(
            self.node.maps().splitlines())

    def _memory(self):
        """In use on the heap; resident of it, and beside it, in KiB; and the number of chunks."""
        series = self.node.metrics()
        chunks = series["obhost_output_chunk_bytes"]
        self.connections = int(series["obhost_connections"])
        heap = series.get("obhost_heap_bytes", 0) - chunks
        resident = {True: 0, False: 0}
        in_heap = False
        with open(f"/proc/{self.node.pid}/smaps", encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if words[0].endswith(":"):
                    resident[in_heap] += int(words[1]) if words[0] == "Rss:" else 0
                else:
                    in_heap = words[-1] == "[heap]"
        return int(heap) // 1024, resident[True], resident[False], int(chunks) // 65536

    def touched_since(self):
        """For a control: KiB of the heap that have become resident."""
        return max(0, self._memory()[1] - self.touched)

    def _check_memory(self, heap_kib, control):
        """A sanitizer keeps what is freed for a while, so nothing is looked at with one."""
        now = self._memory()
        most = heap_kib + max(self.TOUCHED, self.CONTROLS * control)
        most += self.CHUNK * max(0, self.connections - self.chunks)
        for what, was, is_now, kib in (("in use on the heap", self.heap, now[0], heap_kib),
                                       ("resident of the heap", self.touched, now[1], most),
                                       ("resident beside the heap", self.rest, now[2], self.REST)):
            if is_now - was > kib and not SANITIZE:
                raise Failed(f"{self.node.name}: {what}: {was} then {is_now} KiB, "
                             f"at most {kib} more are right")
        return now

    def check(self, heap_kib=REPORTS, control=0, maps=6):
        """As it was: descriptors and threads exactly, mappings but for the heap's few, memory but
        for the limits above. Returns what is there now, for a comment."""
        last = [None]

        def flat():
            last[0] = self._counts()
            now_fds, now_threads, now_maps = last[0]
            return (now_fds <= self.fds and now_threads <= self.threads and
                    (now_maps <= self.maps + maps or SANITIZE))
        try:
            eventually(flat, "what it was", timeout=10)
        except Failed:
            raise Failed(f"{self.node.name} had {(self.fds, self.threads, self.maps)} descriptors,"
                         f" threads and mappings, and has {last[0]}") from None
        heap, touched, rest, chunks = self._check_memory(heap_kib, control)
        fds, threads, mappings = last[0]
        return (f"{self.node.name}: descriptors {self.fds} then {fds}, threads {self.threads} then "
                f"{threads}, mappings {self.maps} then {mappings}; KiB in use on the heap "
                f"{self.heap} then {heap}, resident of it {self.touched} then {touched}, beside it "
                f"{self.rest} then {rest}; chunks {self.chunks} then {chunks}")
