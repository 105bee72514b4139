# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""RFC 6455 sections 5.5.1 and 7: the end, begun by either side."""

from .wsconf import (ALL_AT_ONCE, BINARY, CLOSE, CONT, GONE, PER_BYTE, PER_FRAME, PONG, TEXT, Case,
                     close, frame, ping, pong, text)
from .wsconf_text import BAD, CUT_OFF

SENT = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3001, 3999,
        4000, 4001, 4999)
NOT_SENT = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1099, 1100, 1999, 2000, 2999, 5000, 9999,
            32768, 65535)


def _ends(section, name, send, end=1000, expect=(), **more):
    return Case(section, name, send, expect, end, **more)


def kick(code, reason=""):
    """Asks the module behind the server to close this connection."""
    return frame(f"!kick {code} {reason}".encode())


CODES = [
    _ends("7.4", f"a close with {code} is answered in kind", close(code), code, reason=b"")
    for code in SENT
] + [
    _ends("7.4.1", f"a close with {code}, which may not be sent, is answered with 1002",
          close(code), 1002) for code in NOT_SENT
] + [
    _ends("5.5.1", "a close without a code is answered without one", close(), 1005, reason=b""),
    _ends("5.5.1", "a close with one byte is answered with 1002", frame(b"\x03", CLOSE), 1002),
    _ends("5.5.1", "a close with another single byte is answered with 1002", frame(b"\xff", CLOSE),
          1002),
    _ends("7.1.5", "a close byte by byte", close(1000, b"slowly"), how=PER_BYTE),
]

REASONS = [
    _ends("7.1.6", f"a close whose reason is {name} is answered in kind", close(1000, reason))
    for name, reason in [("short", b"bye"), ("of 123 bytes", b"x" * 123), ("a NUL", b"\0"),
                         ("not ASCII", "tschüß, 再见, 😀".encode()),
                         ("of 123 bytes of three", "你".encode() * 41),
                         ("U+10FFFF", b"\xf4\x8f\xbf\xbf")]
] + [
    _ends("8.1", f"a close whose reason has {name} is answered with 1007",
          close(1000, b"bye" + data), 1007) for name, data in BAD + CUT_OFF
]

BEHIND = [
    _ends("5.5.1", f"{name} behind a close is not answered", [close(1000), send], to=to)
    for name, to, send in [
        ("a message", "binary", frame(b"late")), ("a text", "text", text(b"late")),
        ("a ping", "binary", ping(b"?")), ("a pong", "binary", pong(b"!")),
        ("a second close", "binary", close(1001)), ("a second, wrong close", "binary", close(1005)),
        ("what is no frame", "binary", b"\xff" * 1000),
        ("a text that is not", "text", text(b"\xff")),
        ("a message of 64 KiB", "binary", frame(b"x" * 65536)),
        ("half a message", "binary", frame(b"late")[:5])]
] + [
    _ends("5.5.1", f"{name} behind a close, in a segment of its own, is not answered",
          [close(1000), send], how=PER_FRAME)
    for name, send in [("a message", frame(b"late")), ("a ping", ping(b"?")),
                       ("a second close", close(1001)), ("what is no frame", b"\xff" * 1000)]
] + [
    _ends("7.1.7", f"behind {name} nothing more is answered, {how}",
          [send, frame(b"late"), ping(b"?"), close(1000)], code, to=to, how=how)
    for name, to, send, code in [
        ("an unmasked frame", "binary", frame(b"x", mask=None), 1002),
        ("a reserved bit", "binary", frame(b"x", rsv=4), 1002),
        ("text that is not UTF-8", "text", text(b"\xff"), 1007),
        ("a message beyond the limit", "binary", frame(form=64, length=1 << 30), 1009)]
    for how in (ALL_AT_ONCE, PER_FRAME)
]

ORDER = [
    _ends("5.5.1", "what came before a close is answered first",
          [frame(b"a"), ping(b"b"), frame(b"c"), close(4000)], 4000,
          [(BINARY, b"a"), (PONG, b"b"), (BINARY, b"c")]),
    _ends("5.5.1", "a thousand messages before a close are answered first",
          b"".join(frame(b"%d" % n) for n in range(1000)) + close(1000), 1000,
          [(BINARY, b"%d" % n) for n in range(1000)]),
    _ends("5.5.1", "a close between the fragments of a message",
          [frame(b"a", fin=False), close(1000)]),
    _ends("5.5.1", "a close inside a character of a text",
          [text(b"\xe4\xbd", fin=False), close(1000)], to="text"),
    _ends("5.5.1", "a message that would go on behind a close",
          [frame(b"a", fin=False), close(1000), frame(b"b", CONT)]),
    _ends("7.1.7", "what came before a fault is answered first",
          [frame(b"a"), ping(b"b"), frame(b"c", 3)], 1002, [(BINARY, b"a"), (PONG, b"b")]),
    _ends("7.1.7", "a text before a fault is answered first", [text("é"), text(b"\xff")], 1007,
          [(TEXT, "é".encode())], to="text"),
]

LEAVES = [
    Case("7.1.1", f"a client that leaves {name} is left alone", send, expect, GONE, leave=True)
    for name, send, expect in [
        ("without a word", b"", []), ("inside a frame", frame(b"hello")[:8], []),
        ("inside a header", frame(b"x" * 300)[:3], []),
        ("between fragments", frame(b"a", fin=False), [])]
] + [
    _ends("7.1.1", "a client that says its close and leaves has the answer", close(1000),
          leave=True),
    _ends("7.1.1", "a client that says something wrong and leaves has the answer",
          frame(b"x", rsv=1), 1002, leave=True),
]

FROM_HERE = [
    _ends("7.1.2", f"the server closes with {code} and a reason", kick(code, "enough"), code,
          reason=b"enough") for code in (1000, 1001, 1008, 1011, 1013, 3000, 4000, 4999)
] + [
    Case("7.4.1", f"the server does not close with {code}", kick(code), [(BINARY, b"refused")])
    for code in (1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
] + [
    _ends("7.1.2", "the server closes behind what it has to say",
          [frame(b"a"), ping(b"b"), kick(4000, "c")], 4000, [(BINARY, b"a"), (PONG, b"b")],
          reason=b"c"),
    _ends("7.1.2", "the server has nothing to say behind its close",
          [kick(4000), frame(b"late"), ping(b"?"), close(1000)], 4000),
    _ends("7.1.2", "the server has nothing to say behind its close to later segments",
          [kick(4000), frame(b"late"), ping(b"?"), close(1000)], 4000, how=PER_FRAME),
    _ends("7.1.2", "the server closes without a reason", kick(4000), 4000, reason=b""),
    _ends("7.1.6", "the server's reason of 123 bytes", kick(4000, "x" * 123), 4000,
          reason=b"x" * 123),
    _ends("7.1.6", "the server's reason is cut to 123 bytes", kick(4000, "x" * 200), 4000,
          reason=b"x" * 123),
    _ends("7.1.6", "the server's reason is cut between characters of two", kick(4000, "é" * 100),
          4000, reason="é".encode() * 61),
    _ends("7.1.6", "the server's reason is cut between characters of three",
          kick(4000, "x你" * 60), 4000, reason="x你".encode() * 30 + b"x"),
    _ends("7.1.6", "the server's reason is cut between characters of four", kick(4000, "😀" * 60),
          4000, reason="😀".encode() * 30),
] + [
    _ends("8.1", f"the server's reason is text, whatever it is told: {data.hex()}",
          frame(b"!kick 4000 bye" + data), 4000) for data in
    (b"\xff", b"\xc3", b"\xe4\xbd", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")
]

CASES = CODES + REASONS + BEHIND + ORDER + LEAVES + FROM_HERE
