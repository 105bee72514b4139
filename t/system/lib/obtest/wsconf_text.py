# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""RFC 6455 section 8.1: text is UTF-8 (RFC 3629), over fragments, and no longer than it is."""

from .wsconf import (BINARY, CONT, PER_BYTE, PER_FRAME, PONG, TEXT, Case, frame, pieces, ping, text)

GOOD = [
    ("ASCII", b"hello"), ("NUL", b"\0"), ("U+007F", b"\x7f"), ("U+0080", b"\xc2\x80"),
    ("U+07FF", b"\xdf\xbf"), ("U+0800", b"\xe0\xa0\x80"), ("U+0FFF", b"\xe0\xbf\xbf"),
    ("U+1000", b"\xe1\x80\x80"), ("U+CFFF", b"\xec\xbf\xbf"), ("U+D000", b"\xed\x80\x80"),
    ("U+D7FF", b"\xed\x9f\xbf"), ("U+E000", b"\xee\x80\x80"), ("U+FEFF", b"\xef\xbb\xbf"),
    ("U+FFFD", b"\xef\xbf\xbd"), ("U+FFFE", b"\xef\xbf\xbe"), ("U+FFFF", b"\xef\xbf\xbf"),
    ("U+10000", b"\xf0\x90\x80\x80"), ("U+3FFFF", b"\xf0\xbf\xbf\xbf"),
    ("U+40000", b"\xf1\x80\x80\x80"), ("U+FFFFF", b"\xf3\xbf\xbf\xbf"),
    ("U+100000", b"\xf4\x80\x80\x80"), ("U+10FFFF", b"\xf4\x8f\xbf\xbf"),
    ("a word in Greek", "κόσμε".encode()), ("some of each length", "aé你😀".encode() * 9),
    ("4,000 bytes of two", "é".encode() * 2000), ("6,000 bytes of three", "你".encode() * 2000),
    ("8,000 bytes of four", "😀".encode() * 2000),
]

BAD = [
    ("0x80 alone", b"\x80"), ("0xBF alone", b"\xbf"), ("a follower too many", b"\xc2\x80\x80"),
    ("six followers", b"\x80\xbf\x80\xbf\x80\xbf"), ("0xC0", b"\xc0"), ("0xC1", b"\xc1"),
    ("0xF5", b"\xf5"), ("0xF8", b"\xf8"), ("0xFC", b"\xfc"), ("0xFE", b"\xfe"), ("0xFF", b"\xff"),
    ("a lead of two before ASCII", b"\xc3\x28"), ("a lead of three before ASCII", b"\xe2\x28\xa1"),
    ("a third byte that is ASCII", b"\xe2\x82\x28"),
    ("a lead of four before ASCII", b"\xf0\x28\x8c\xbc"),
    ("a third of four that is ASCII", b"\xf0\x90\x28\xbc"),
    ("a fourth byte that is ASCII", b"\xf0\x90\x8c\x28"), ("two leads", b"\xc3\xc3"),
    ("a lead in a lead", b"\xe2\xc3\xa9"),
    ("/ in two bytes", b"\xc0\xaf"), ("/ in three bytes", b"\xe0\x80\xaf"),
    ("/ in four bytes", b"\xf0\x80\x80\xaf"), ("/ in five bytes", b"\xf8\x80\x80\x80\xaf"),
    ("/ in six bytes", b"\xfc\x80\x80\x80\x80\xaf"), ("U+007F in two bytes", b"\xc1\xbf"),
    ("U+07FF in three bytes", b"\xe0\x9f\xbf"), ("U+FFFF in four bytes", b"\xf0\x8f\xbf\xbf"),
    ("NUL in two bytes", b"\xc0\x80"), ("NUL in three bytes", b"\xe0\x80\x80"),
    ("NUL in four bytes", b"\xf0\x80\x80\x80"),
    ("U+D800", b"\xed\xa0\x80"), ("U+DB7F", b"\xed\xad\xbf"), ("U+DBFF", b"\xed\xaf\xbf"),
    ("U+DC00", b"\xed\xb0\x80"), ("U+DFFF", b"\xed\xbf\xbf"),
    ("a pair of surrogates, as in CESU-8", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("U+110000", b"\xf4\x90\x80\x80"), ("U+13FFFF", b"\xf4\xbf\xbf\xbf"),
    ("U+140000", b"\xf5\x80\x80\x80"), ("U+1FFFFF", b"\xf7\xbf\xbf\xbf"),
    ("U+200000", b"\xf8\x88\x80\x80\x80"), ("U+4000000", b"\xfc\x84\x80\x80\x80\x80"),
]

CUT_OFF = [
    ("one byte of two", b"\xc3"), ("one byte of three", b"\xe4"), ("two of three", b"\xe4\xbd"),
    ("one byte of four", b"\xf0"), ("two of four", b"\xf0\x9f"),
    ("three of four", b"\xf0\x9f\x98"),
]

AROUND = b"a text with something wrong in it, and more behind"


def _bad(name, send, expect=(), **more):
    return Case("8.1", f"{name} is closed with 1007", send, expect, 1007, to="text", **more)


def _taken(name, send, data, **more):
    return Case("8.1", f"{name} is taken", send, [(TEXT, data)], to="text", **more)


WHOLE = (
    [_taken(name, text(data), data) for name, data in GOOD] +
    [_bad(name, text(data)) for name, data in BAD] +
    [_bad(f"{name} inside a text", text(AROUND[:21] + data + AROUND[21:])) for name, data in BAD] +
    [_bad(f"a text that ends in {name}", text(b"hello" + data)) for name, data in CUT_OFF] +
    [_bad(f"0xFF behind {at} bytes of ASCII", text(AROUND[:at] + b"\xff" + AROUND[at:]))
     for at in range(34)] +
    [_bad(f"a surrogate behind {at} bytes of three", text(
        "你".encode() * (at // 3) + b"\xed\xa0\x80" + b"." * 9)) for at in range(0, 27, 3)])

# Each character, cut at each of its bytes.
CHARACTERS = [("two", "é".encode()), ("three", "你".encode()), ("four", "😀".encode())]

FRAGMENTS = (
    [_taken(f"a character of {name} bytes with {at} in the first fragment", pieces(
        [b"a" + data[:at], data[at:] + b"b"], TEXT), b"a" + data + b"b")
     for name, data in CHARACTERS for at in range(1, len(data))] +
    [_taken(f"a character of {name} bytes in as many fragments, {how}", pieces(
        [data[at:at + 1] for at in range(len(data))], TEXT), data, how=how)
     for name, data in CHARACTERS for how in (PER_FRAME, PER_BYTE)] +
    [_taken(f"a character of {name} bytes with an empty fragment inside",
            pieces([data[:1], b"", data[1:]], TEXT), data) for name, data in CHARACTERS] +
    [Case("8.1", f"a ping inside a character of {name} bytes",
          pieces([data[:1], data[1:]], TEXT, ping(b"\xff")),
          [(PONG, b"\xff"), (TEXT, data)], to="text") for name, data in CHARACTERS] +
    [_bad(f"a text in two fragments that ends in {name}", pieces([b"hello", data], TEXT))
     for name, data in CUT_OFF] +
    [_bad(f"{name} at the end of the last but one, empty fragment", pieces([data, b""], TEXT))
     for name, data in CUT_OFF] +
    [_bad(f"{name} before a fragment of ASCII", pieces([data, b"ascii, eight and more"], TEXT))
     for name, data in CUT_OFF] +
    [_bad(f"{name}, in two fragments, {at} bytes in the first,",
          pieces([data[:at], data[at:]], TEXT))
     for name, data in BAD if len(data) > 2 for at in {1, len(data) - 1}] +
    [_bad("a fault in the second of three fragments, the third of which never comes",
          pieces([b"good", b"\xc0\xaf", b"good"], TEXT)[:2]),
     _bad("a fault in the first fragment, behind which a ping comes",
          [text(b"\xff", fin=False), ping(b"?")]),
     _bad("a text behind a good one", [text("é"), text(b"\xe9")], [(TEXT, "é".encode())])])

EARLY = (
    [_bad(f"{name} in a first fragment, before the next", text(data, fin=False))
     for name, data in BAD] +
    [_bad(f"{name}, as soon as it can be seen in a first fragment", text(data, fin=False))
     for name, data in [("a surrogate", b"\xed\xa0"), ("what is above U+10FFFF", b"\xf4\x90"),
                        ("an overlong form of three bytes", b"\xe0\x9f"),
                        ("an overlong form of four bytes", b"\xf0\x8f")]] +
    [_bad(f"{name}, {ahead} bytes on, before the frame is whole,",
          text(data + b"x" * 60000)[:len(data) + 8 + ahead])
     for ahead in (0, 100, 50000)
     for name, data in [("0xFF at the front", b"\xff"),
                        ("a surrogate behind ASCII", b"ascii, plain ascii: \xed\xa0\x80")]] +
    [_bad("a fault in the second segment of a frame that is not whole",
          text(b"good for now, and then \xff" + b"x" * 5000)[:100], cuts=(20,)),
     _bad("a fault in a character between two segments of a frame that is not whole",
          text(b"good: \xf0\x9f" + b"(" + b"x" * 5000)[:100], cuts=(16,)),
     _bad("a fault in a continuation that is not whole",
          [text(b"\xf0\x9f", fin=False), frame(b"(" + b"x" * 300, CONT)[:12]], how=PER_FRAME)])

SEGMENTS = [
    _taken(f"a text whose characters of {name} bytes are cut by segments", text(data * 40),
           data * 40, cuts=tuple(range(5, len(data) * 40, 7))) for name, data in CHARACTERS
]

OTHER_KINDS = [
    Case("5.6", f"a binary message with {name} is taken", frame(data), [(BINARY, data)])
    for name, data in [BAD[0], BAD[10], BAD[19], BAD[30], BAD[36], CUT_OFF[5]]
] + [
    Case("5.6", "a binary message in fragments is not looked at as text",
         pieces([b"\xff", b"\xc0\xaf", b"\xe4"], BINARY), [(BINARY, b"\xff\xc0\xaf\xe4")]),
    Case("5.6", "what came as binary and is text can be sent as text", frame("é".encode()),
         [(TEXT, "é".encode())], to="text"),
] + [
    Case("8.1", f"the server does not send {name} as text",
         [frame(b"good"), frame(b"bad: " + data)], [(TEXT, b"good")], 1011, to="text")
    for name, data in BAD[10:20:3] + CUT_OFF
]

CASES = WHOLE + FRAGMENTS + EARLY + SEGMENTS + OTHER_KINDS
