# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Cases, and what becomes of them, in the Test Anything Protocol.

A test file is a list of functions with @case("what is true"), and `main()` at its foot. Each case
is one line of the output: it passes when the function returns, is skipped by `skip()`, and fails
by any exception, most often one of `equal()`, `check()` and `eventually()`.
"""

import asyncio
import atexit
import inspect
import os
import signal
import sys
import threading
import time
import traceback

from .env import SLOW

_cases = []
_at_end = []
_on_failure = []


class Skip(Exception):
    pass


class Failed(AssertionError):
    pass


class OutOfTime(KeyboardInterrupt):
    """Of the family that asyncio does not swallow."""


class _Case:
    def __init__(self, title, function, timeout):
        self.title = title
        self.function = function
        self.timeout = timeout


def case(title, timeout=30):
    """Makes the function, or coroutine, a case. `timeout` is in seconds of an unslowed build."""
    def add(function):
        _cases.append(_Case(title, function, timeout * SLOW))
        return function
    return add


def cases(rows, title="{0}", timeout=30):
    """Makes a case of each row; `title` is formatted with the row, which is the arguments."""
    def add(function):
        for row in rows:
            def run(row=row):
                return function(*row)
            _cases.append(_Case(title.format(*row), run, timeout * SLOW))
        return function
    return add


def skip(reason):
    raise Skip(reason)


def check(condition, message="it is not so"):
    if not condition:
        raise Failed(message)


def equal(got, expected, what=""):
    if got != expected:
        raise Failed(f"{what + ': ' if what else ''}got {got!r}, expected {expected!r}")


def contains(text, part, what=""):
    if part not in text:
        raise Failed(f"{what + ': ' if what else ''}{part!r} is not in {text!r}")


def eventually(condition, what="it", timeout=10, pause=0.02):
    """Waits until condition() is true and returns what it gave."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what} did not come about within {timeout * SLOW} s; last: {value!r}")
        time.sleep(pause)


def steady(value, what="it", pause=0.2, timeout=10):
    """What value() gives once it has given the same twice in a row, `pause` apart."""
    last = [None]

    def twice():
        last[0], before = value(), last[0]
        return last[0] == before
    eventually(twice, f"a steady {what}", timeout, pause)
    return last[0]


def at_end(function):
    """Calls function() when the file's cases are through, last come first served; however the
    process ends."""
    _at_end.append(function)


def on_failure(function):
    """Adds the text of function(TIME) to the report of each case that failed, begun at TIME."""
    _on_failure.append(function)


def comment(text):
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


def _clean_up():
    while _at_end:
        function = _at_end.pop()
        try:
            function()
        except Exception:  # pylint: disable=broad-except
            comment(traceback.format_exc())


atexit.register(_clean_up)


def _die(signum, _frame):
    _clean_up()
    os._exit(128 + signum)


def _alarm(_signum, _frame):
    raise OutOfTime("the case took too long")


def _watchdog(seconds):
    """The last resort, for a case that does not even take its alarm."""
    def expire():
        print(f"Bail out! the file took more than {seconds} s", flush=True)
        _clean_up()
        os._exit(1)
    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()


def _run(one):
    signal.setitimer(signal.ITIMER_REAL, one.timeout)
    try:
        result = one.function()
        if inspect.isawaitable(result):
            asyncio.run(_await(result))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


async def _await(thing):
    return await thing


def _report(number, one, error, began):
    if error is None:
        print(f"ok {number} - {one.title}", flush=True)
    elif isinstance(error, Skip):
        print(f"ok {number} - {one.title} # SKIP {error}", flush=True)
    else:
        print(f"not ok {number} - {one.title}", flush=True)
        shown = traceback.format_exception(type(error), error, error.__traceback__)
        comment("".join(shown[-4:]))
        for function in _on_failure:
            comment(function(began))


def skip_all(reason):
    print(f"1..0 # SKIP {reason}", flush=True)
    sys.exit(0)


def _wanted():
    """All cases, or those whose title has one of the words on the command line."""
    words = sys.argv[1:]
    return [one for one in _cases if not words or any(word in one.title for word in words)]


def main(last=None, timeout=240):
    """Runs the cases; `last` is what must be true when all is over (nodes ended cleanly)."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _die)
    signal.signal(signal.SIGALRM, _alarm)
    _watchdog(timeout * SLOW)
    wanted = _wanted()
    if last is not None:
        wanted.append(_Case("every node ended cleanly", last, 60 * SLOW))
    print(f"1..{len(wanted)}", flush=True)
    bad = 0
    for number, one in enumerate(wanted, 1):
        error = None
        began = time.time()
        try:
            _run(one)
        except (Exception, OutOfTime) as caught:  # pylint: disable=broad-except
            error = caught
        bad += error is not None and not isinstance(error, Skip)
        _report(number, one, error, began)
    _clean_up()
    sys.stdout.flush()
    os._exit(1 if bad else 0)
