# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""RFC 6455 section 5: frames, masks, fragments, control frames, in any segmentation."""

from .wsconf import (ALL_AT_ONCE, BINARY, CLOSE, CONT, LIMIT, PER_BYTE, PER_FRAME, PING, PONG,
                     TEXT, Case, close, cut, frame, pieces, ping, pong, text)

KINDS = [("binary", BINARY, "binary"), ("text", TEXT, "text")]


def filler(length):
    """Bytes that show when one is missing, and are ASCII."""
    return b"".join(b"%07d." % n for n in range(length // 8 + 1))[:length]


def _echoed(section, name, data, op=BINARY, **more):
    return Case(section, name, frame(data, op), [(op, data)],
                to="text" if op == TEXT else "binary", **more)


def _bad(section, name, send, code=1002, **more):
    return Case(section, f"{name} is closed with {code}", send, end=code, **more)


# ---------------------------------------------------------------- lengths and limits

SIZES = [_echoed("5.2", f"{kind} of {size} bytes", filler(size), op)
         for kind, op, _ in KINDS
         for size in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 124, 125, 126,
                      127, 128, 255, 256, 257, 4095, 4096, 16384, 32768, 65535, 65536, 65537,
                      LIMIT - 1, LIMIT)]

LENGTHS = [
    _bad("5.2", f"{kind} of {length} bytes, told in {form} bits,",
         frame(filler(length), op, form=form), to=to)
    for kind, op, to in KINDS
    for length, form in ((0, 16), (1, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65535, 64))
] + [
    _bad("5.2", f"a {name} whose length is told in {form} bits", frame(b"x", op, form=form))
    for name, op in (("ping", PING), ("pong", PONG), ("close", CLOSE)) for form in (16, 64)
] + [
    _bad("5.2", f"a length of {name}", frame(form=64, length=length), code)
    for name, length, code in [("2^63", 1 << 63, 1002), ("2^64-1", (1 << 64) - 1, 1002),
                               ("2^63+1", (1 << 63) + 1, 1002), ("2^63-1", (1 << 63) - 1, 1009),
                               ("2^32", 1 << 32, 1009), ("2^32+5", (1 << 32) + 5, 1009)]
]

LIMITS = [
    _bad("10.4", "a message beyond the limit", frame(filler(LIMIT + 1)), 1009),
    _bad("10.4", "a text beyond the limit", text(filler(LIMIT + 1)), 1009, to="text"),
    _bad("10.4", "a message far beyond the limit, of which nothing comes,",
         frame(form=64, length=1 << 40), 1009),
    _bad("10.4", "the header alone of a message beyond the limit, without its mask,",
         frame(form=64, length=LIMIT * 2, mask=b""), 1009),
    _bad("10.4", "a message whose fragments together are beyond the limit",
         pieces(cut(filler(LIMIT + 1000), 10), BINARY), 1009),
    _bad("10.4", "a message whose last fragment is announced beyond the limit",
         [frame(filler(1000), fin=False), frame(op=CONT, form=64, length=LIMIT)], 1009),
    Case("10.4", "a message of the limit in fragments is taken",
         pieces(cut(filler(LIMIT), 10), BINARY), [(BINARY, filler(LIMIT))]),
    Case("10.4", "control frames don't count in a message of the limit",
         pieces(cut(filler(LIMIT), 4), BINARY, ping(filler(125))),
         [(PONG, filler(125))] * 3 + [(BINARY, filler(LIMIT))]),
    Case("10.4", "each message has the whole limit", frame(filler(LIMIT)) * 3,
         [(BINARY, filler(LIMIT))] * 3),
    Case("10.4", "a limit that was passed is not forgiven for a ping in between",
         [*pieces(cut(filler(LIMIT), 2), BINARY)[:1], ping(b"?"),
          frame(filler(LIMIT), CONT)], [(PONG, b"?")], 1009),
]

# ---------------------------------------------------------------- masks, bits, opcodes

MASKS = [
    Case("5.3", f"a mask of {mask.hex()} over {size} bytes", frame(filler(size), mask=mask),
         [(BINARY, filler(size))])
    for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\xff", b"\x80\x40\x20\x10",
                 b"\x37\xfa\x21\x3d")
    for size in (3, 7, 13, 70)
] + [
    Case("5.3", "a mask of its own for each of forty frames",
         [frame(filler(n), mask=bytes([n, 255 - n, n * 5, 7])) for n in range(1, 41)],
         [(BINARY, filler(n)) for n in range(1, 41)]),
    Case("5.3", "each fragment of a text has a mask of its own",
         [text("häl"[:2], fin=False, mask=b"abcd"), frame("lo".encode(), CONT, mask=b"\x80zzz")],
         [(TEXT, "hälo".encode())], to="text"),
] + [
    _bad("5.1", f"an unmasked {name}", frame(data, op, mask=None))
    for name, op, data in [("message", BINARY, b"hello"), ("text", TEXT, b"hello"),
                           ("empty message", BINARY, b""), ("ping", PING, b""),
                           ("pong", PONG, b"x"), ("close", CLOSE, b"\x03\xe8"),
                           ("message of 64 KiB", BINARY, b"x" * 65536)]
] + [
    _bad("5.1", "an unmasked continuation",
         [frame(b"a", fin=False), frame(b"b", CONT, mask=None)]),
    _bad("5.1", "an unmasked message behind good ones", [frame(b"a"), frame(b"b", mask=None)],
         expect=[(BINARY, b"a")]),
]

RESERVED = [
    _bad("5.2", f"a {name} with reserved bits {rsv:03b}", frame(data, op, rsv=rsv))
    for name, op, data in [("message", BINARY, b"x"), ("text", TEXT, b"x"), ("ping", PING, b""),
                           ("pong", PONG, b""), ("close", CLOSE, b"\x03\xe8")]
    for rsv in (range(1, 8) if op in (BINARY, TEXT) else (1, 2, 4))
] + [
    _bad("5.2", f"a continuation with reserved bits {rsv:03b}",
         [frame(b"a", fin=False), frame(b"b", CONT, rsv=rsv)]) for rsv in (1, 2, 4)
] + [
    _bad("5.2", f"opcode {op}{how}", frame(data, op, fin=fin))
    for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    for how, data, fin in (("", b"", True), (" with bytes", b"hello", True),
                           (" without FIN", b"", False))
] + [
    _bad("5.2", f"opcode {op} between fragments", [frame(b"a", fin=False), frame(b"", op)])
    for op in (3, 7, 11, 15)
] + [
    _bad("5.2", f"opcode {op} behind a message", [frame(b"a"), frame(b"", op)],
         expect=[(BINARY, b"a")]) for op in (3, 11)
]

# ---------------------------------------------------------------- fragments

BETWEEN = [("nothing", b"", None), ("a ping", ping(b"now?"), b"now?"),
           ("a pong", pong(b"so"), None), ("an empty ping", ping(), b""),
           ("a ping of 125 bytes", ping(filler(125)), filler(125))]


def _fragmented(kind, op, to, count, between, how):
    what, sent, back = between
    data = "pieces: grüße, 你好, 😀".encode() if op == TEXT else bytes(range(200, 256)) * 2
    return Case("5.4", f"{kind} in {count} fragments, {what} between them, {how}",
                pieces(cut(data, count), op, sent),
                [(PONG, back)] * (count - 1 if back is not None else 0) + [(op, data)],
                to=to, how=how)


FRAGMENTS = [
    _fragmented(kind, op, to, count, between, how)
    for kind, op, to in KINDS for count in (2, 3, 5) for between in BETWEEN
    for how in (ALL_AT_ONCE, PER_FRAME, PER_BYTE)
] + [
    Case("5.4", f"{kind} with {name}", pieces(parts, op), [(op, b"".join(parts))], to=to)
    for kind, op, to in KINDS
    for name, parts in [
        ("an empty first fragment", [b"", b"all of it"]),
        ("an empty last fragment", [b"all of it", b""]),
        ("an empty fragment in the middle", [b"half", b"", b"half"]),
        ("empty fragments all around", [b"", b"", b"all", b"", b""]),
        ("fragments of one byte", [b"%c" % c for c in b"one by one by one"]),
        ("a thousand fragments", [b"%03d" % n for n in range(1000)]),
        ("a fragment of each form of length", [filler(n) for n in (5, 125, 126, 4000, 65535)]),
    ]
] + [
    Case("5.4", f"{kind} of no bytes in {count} fragments does no harm", pieces([b""] * count, op),
         to=to) for kind, op, to in KINDS for count in (1, 2, 5)
] + [
    Case("5.4", f"two messages of {count} fragments each", pieces(cut(b"the first", count), BINARY)
         + pieces(cut(b"the second", count), BINARY),
         [(BINARY, b"the first"), (BINARY, b"the second")]) for count in (1, 2, 9)
] + [
    Case("5.4", f"a ping in gap {gap} of four fragments is answered at once",
         (lambda f, g: f[:g] + [ping(b"%d" % g)] + f[g:])(pieces(cut(filler(40), 4), BINARY), gap),
         [(PONG, b"%d" % gap), (BINARY, filler(40))] if gap < 4 else
         [(BINARY, filler(40)), (PONG, b"%d" % gap)], how=PER_FRAME) for gap in range(5)
] + [
    _bad("5.4", name, send, expect=expect, to=to) for name, to, send, expect in [
        ("a continuation of nothing", "binary", frame(b"x", CONT), []),
        ("a continuation of nothing without FIN", "binary", frame(b"x", CONT, fin=False), []),
        ("an empty continuation of nothing", "binary", frame(b"", CONT), []),
        ("a continuation behind a whole message", "binary", [frame(b"a"), frame(b"b", CONT)],
         [(BINARY, b"a")]),
        ("a continuation behind a whole text", "text", [text(b"a"), frame(b"b", CONT)],
         [(TEXT, b"a")]),
        ("a continuation behind a message in fragments", "binary",
         [*pieces([b"a", b"b"], BINARY), frame(b"c", CONT)], [(BINARY, b"ab")]),
        ("a continuation behind a ping", "binary", [ping(b"?"), frame(b"c", CONT)], [(PONG, b"?")]),
        ("a binary message inside a binary one", "binary", [frame(b"a", fin=False), frame(b"b")],
         []),
        ("a text inside a binary message", "binary", [frame(b"a", fin=False), text(b"b")], []),
        ("a binary message inside a text", "text", [text(b"a", fin=False), frame(b"b")], []),
        ("a text inside a text", "text", [text(b"a", fin=False), text(b"b")], []),
        ("a fragmented message inside another", "binary",
         [frame(b"a", fin=False), frame(b"b", fin=False)], []),
        ("a message inside another behind a ping", "binary",
         [frame(b"a", fin=False), ping(b"?"), frame(b"b")], [(PONG, b"?")]),
    ]
]

# ---------------------------------------------------------------- control frames

CONTROL = [
    Case("5.5.2", f"a ping of {size} bytes", ping(filler(size)), [(PONG, filler(size))])
    for size in (0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 63, 64, 65, 124, 125)
] + [
    Case("5.5.2", "a ping of any bytes, which need not be text",
         ping(bytes(range(131, 256))), [(PONG, bytes(range(131, 256)))], to="text"),
    Case("5.5.2", "a hundred pings are answered in their order",
         [ping(b"%d" % n) for n in range(100)], [(PONG, b"%d" % n) for n in range(100)]),
    Case("5.5.2", "pings and messages are answered in their order",
         [f for n in range(20) for f in (ping(b"%d" % n), frame(b"%d" % n))],
         [f for n in range(20) for f in ((PONG, b"%d" % n), (BINARY, b"%d" % n))]),
    Case("5.5.2", "a ping byte by byte", ping(b"slowly"), [(PONG, b"slowly")], how=PER_BYTE),
    Case("5.5.3", "a pong nobody asked for is taken", pong(b"here")),
    Case("5.5.3", "an empty pong is taken", pong()),
    Case("5.5.3", "a pong of 125 bytes is taken", pong(filler(125))),
    Case("5.5.3", "a hundred pongs are taken", pong(b"here") * 100),
    Case("5.5.3", "a pong before a ping is not taken for its answer",
         [pong(b"1"), ping(b"1")], [(PONG, b"1")]),
] + [
    _bad("5.5", f"a {name} of {size} bytes", frame(filler(size), op))
    for name, op in (("ping", PING), ("pong", PONG)) for size in (126, 127, 1000, 65536)
] + [
    _bad("5.5", f"a close of {size} bytes", close(1000, filler(size - 2))) for size in (126, 65536)
] + [
    _bad("5.5", f"the header alone of a {name} of 126 bytes",
         frame(b"", op, form=16, length=126, mask=b""))
    for name, op in (("ping", PING), ("pong", PONG), ("close", CLOSE))
] + [
    _bad("5.5", f"a {name} without FIN{how}", send + behind)
    for name, send in (("ping", ping(b"a", fin=False)), ("pong", pong(fin=False)),
                       ("close", close(1000, fin=False)))
    for how, behind in (("", b""), (" and its continuation", frame(b"b", CONT)))
] + [
    _bad("5.5", f"a {name} without FIN between fragments", [frame(b"a", fin=False), send])
    for name, send in (("ping", ping(b"a", fin=False)), ("pong", pong(fin=False)))
]

# ---------------------------------------------------------------- segments


def _cuts(name, data, offsets, section="5.2"):
    whole = frame(data)
    return [Case(section, f"{name} cut behind {at} bytes", whole, [(BINARY, data)], cuts=(at,))
            for at in offsets]


SEGMENTS = (
    _cuts("a message of 5 bytes", b"hello", range(1, 11)) +
    _cuts("a message of 300 bytes", filler(300), [*range(1, 10), 150, 307]) +
    _cuts("a message of 66,000 bytes", filler(66000), [*range(1, 17), 33000, 66013]) +
    [_bad("5.2", f"{name} cut behind {at} bytes", send, cuts=(at,))
     for name, send in [("an unmasked message", frame(b"hello", mask=None)),
                        ("a message with RSV1", frame(b"hello", rsv=4)),
                        ("a length told in too many bits", frame(b"hello", form=64))]
     for at in (1, 2)] +
    [Case("5.2", f"three messages with a cut in the {name}", frame(b"first") + frame(b"second") +
          frame(b"third"), [(BINARY, b"first"), (BINARY, b"second"), (BINARY, b"third")],
          cuts=cuts)
     for name, cuts in [("first's payload", (8,)), ("second's header", (12,)),
                        ("second's mask", (15,)), ("second's payload", (20,)),
                        ("third's header", (24,)), ("each of them", (3, 13, 25)),
                        ("first and the last byte", (1, 33))]] +
    [Case("5.2", f"{name}, byte by byte", send, expect, to=to, how=PER_BYTE)
     for name, to, send, expect in [
         ("a message of 300 bytes", "binary", frame(filler(300)), [(BINARY, filler(300))]),
         ("a text of any characters", "text", text("aé你😀\U0010ffff"),
          [(TEXT, "aé你😀\U0010ffff".encode())]),
         ("five messages", "binary", b"".join(frame(b"%d" % n) for n in range(5)),
          [(BINARY, b"%d" % n) for n in range(5)])]] +
    [Case("5.2", "a thousand messages in one write",
          b"".join(frame(b"%d" % n) for n in range(1000)),
          [(BINARY, b"%d" % n) for n in range(1000)]),
     Case("5.2", "a message of 66,000 bytes in pieces of a thousand", frame(filler(66000)),
          [(BINARY, filler(66000))], cuts=tuple(range(1000, 66000, 1000)))])

CASES = SIZES + LENGTHS + LIMITS + MASKS + RESERVED + FRAGMENTS + CONTROL + SEGMENTS
