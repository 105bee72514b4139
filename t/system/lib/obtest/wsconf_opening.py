# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""RFC 6455 section 4: the opening handshake, as a table."""

from .wsconf import (BINARY, GONE, KEY, OPEN, PER_FRAME, PONG, TEXT, Case, close, frame, ping,
                     request, text)

VERSION = ("sec-websocket-version: 13", "upgrade: websocket")
BIG = 16 << 10     # bytes of a head
TARGET = 8 << 10   # of its target


def _taken(section, name, line="GET /chat HTTP/1.1", change=None, more=(), order=None):
    return Case(section, f"{name} is taken", request_=request(line, change, more, order))


def _refused(section, name, status, line="GET /chat HTTP/1.1", change=None, more=(), headers=()):
    return Case(section, f"{name} is answered with {status}", status=status, headers=headers,
                request_=request(line, change, more))


def _raw(section, name, status, data):
    return Case(section, f"{name} is answered with {status}", status=status, request_=data)


def _of_size(size):
    """A handshake whose head has so many bytes, few of them in one line."""
    fields = [f"X-{number}: {'x' * 1000}" for number in range(9)]
    return request(more=[*fields, "X: " + "y" * (size - len(request(more=[*fields, "X: "])))])


TARGETS = [_taken("3", f"the target {name}", line=f"GET {target} HTTP/1.1") for name, target in [
    ("/", "/"), ("with a query", "/a/b?c=d&e=f"), ("//", "//"), ("with escapes", "/%E4%BD%A0%2F"),
    ("with an empty query", "/?"), ("of 8,192 bytes", "/" + "x" * (TARGET - 1)),
    ("ws://HOST/", "ws://server.example.com/chat"), ("http://HOST/", "http://server.example.com/"),
    ("http://HOST", "http://server.example.com"),
    ("of all that may stand there", "/-._~!$&'()*+,;=:@?/?"),
]] + [_refused("3", f"the target {name}", status, line=f"GET {target} HTTP/1.1")
      for name, target, status in [
          ("with a fragment", "/chat#part", 400), ("without a slash", "chat", 400),
          ("*", "*", 400), ("with a blank", "/a b", 400), ("with half an escape", "/%4", 400),
          ("with a wrong escape", "/%zz", 400), ("with an escaped NUL", "/%00", 400),
          ("of another host", "ws://other.example.com/", 400), ("of no scheme", "x://y/", 400),
          ("beyond ASCII", "/\xe4", 400), ("of 8,193 bytes", "/" + "x" * TARGET, 414)]]

LINES = [_refused("4.2.1", f"the method {method}", status, line=f"{method} /chat HTTP/1.1")
         for method, status in [("POST", 400), ("PUT", 400), ("DELETE", 400), ("HEAD", 400),
                                ("OPTIONS", 400), ("PATCH", 400), ("get", 501), ("TRACE", 501),
                                ("CONNECT", 501), ("GETS", 501), ("G(T", 400)]] + [
    _refused("4.2.1", f"the version {version!r}", status, line=f"GET /chat {version}")
    for version, status in [("HTTP/1.0", 400), ("HTTP/0.9", 505), ("HTTP/2.0", 505),
                            ("HTTP/1", 400), ("HTTP/1.1.1", 400), ("http/1.1", 400),
                            ("HTTP/1.1 ", 400), ("XTTP/1.1", 400), ("", 400)]] + [
    _refused("4.2.1", "a line of HTTP/0.9", 400, line="GET /chat")]

HOST = [
    _taken("4.2.1", "a Host with a port", change={"Host": "server.example.com:8080"}),
    _taken("4.2.1", "a Host with an IPv6 address", change={"Host": "[::1]:80"}),
    _refused("4.2.1", "no Host", 400, change={"Host": None}),
    _refused("4.2.1", "a second Host", 400, more=["Host: server.example.com"]),
    _refused("4.2.1", "two Hosts in one", 400, change={"Host": "one, two"}),
    _refused("4.2.1", "a Host with a path", 400, change={"Host": "one/two"}),
    _refused("4.2.1", "a Host with a user", 400, change={"Host": "one@two"}),
]

UPGRADE = [_taken("4.2.1", f"Upgrade: {value!r}", change={"Upgrade": value}) for value in [
    "WebSocket", "WEBSOCKET", " websocket ", "\twebsocket\t", "h2c, websocket", "websocket, h2c",
    "h2c,websocket", ", websocket,"]] + [
    _taken("4.2.1", "Upgrade in two lines", change={"Upgrade": "h2c"}, more=["Upgrade: websocket"]),
] + [_refused("4.2.1", f"Upgrade: {value!r}", 426, change={"Upgrade": value}, headers=VERSION)
     for value in [None, "", "h2c", "websockets", "web socket", "websocket13", "web, socket",
                   "\"websocket\"", "websocket;q=1"]]

CONNECTION = [_taken("4.2.1", f"Connection: {value!r}", change={"Connection": value}) for value in [
    "upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade, keep-alive", "keep-alive,upgrade",
    " Upgrade\t", ",,Upgrade", "Upgrade, HTTP2-Settings"]] + [
    _taken("4.2.1", "Connection in two lines", change={"Connection": "keep-alive"},
           more=["Connection: Upgrade"]),
] + [_refused("4.2.1", f"Connection: {value!r}", 400, change={"Connection": value}) for value in [
    None, "", "keep-alive", "close", "Upgraded", "up grade", "Upgrade websocket",
    "\"Upgrade\""]]

KEYS = [_taken("4.2.1", f"a key {name}", change={"Sec-WebSocket-Key": key}) for name, key in [
    ("of zeros", "AAAAAAAAAAAAAAAAAAAAAA=="), ("of ones", "/////////////////////w=="),
    ("with + and /", "+/+/+/+/+/+/+/+/+/+/+g=="), ("with white space around it", f"  {KEY}\t"),
]] + [_refused("4.2.1", f"a key {name}", 400, change={"Sec-WebSocket-Key": key})
      for name, key in [
          ("that is not there", None), ("that is empty", ""),
          ("of 15 bytes", "MTIzNDU2Nzg5MDEyMzQ1"),
          ("of 17 bytes", "MTIzNDU2Nzg5MDEyMzQ1Njc="), ("of 16 characters", "1234567890123456"),
          ("without its padding", KEY.rstrip("=")), ("with one = of two", KEY[:-1]),
          ("with three =", KEY[:-3] + "==="), ("with = in the middle", "dGhlIHNhbXB=ZSBub25jZQ=="),
          ("in the URL's alphabet", "-_-_-_-_-_-_-_-_-_-_-g=="),
          ("with a blank inside", "dGhlIHNhbXBs ZSBub25jZQ="),
          ("with a quote", "\"GhlIHNhbXBsZSBub25jZ\"=="), ("of a kilobyte", "A" * 1024)]] + [
    _refused("11.3.1", "the same key twice", 400, more=[f"Sec-WebSocket-Key: {KEY}"]),
    _refused("11.3.1", "a second key", 400, more=["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]),
]

VERSIONS = [
    _taken("4.2.1", "a version with white space around it",
           change={"Sec-WebSocket-Version": " \t13 "}),
] + [_refused("4.4", f"version {value!r}", 426, change={"Sec-WebSocket-Version": value},
              headers=VERSION)
     for value in [None, "", "0", "7", "8", "12", "14", "130", "013", "13.0", "+13", "13, 8",
                   "8, 13", "-13", "13a", "255"]] + [
    _refused("11.3.5", "the version twice", 400, more=["Sec-WebSocket-Version: 13"]),
    _refused("11.3.5", "a second version", 400, more=["Sec-WebSocket-Version: 8"]),
]

OFFERS = [_taken("9.1", f"the offer of {value}, and not taken up,",
                 more=[f"Sec-WebSocket-Extensions: {value}"]) for value in [
    "permessage-deflate", "permessage-deflate; client_max_window_bits",
    "permessage-deflate;client_max_window_bits=15;server_no_context_takeover",
    "permessage-deflate; client_max_window_bits=\"10\", x-webkit-deflate-frame",
    "foo, bar; baz=2", ", foo ,", "foo ; bar = baz"]] + [
    _taken("9.1", "an offer of extensions in two lines",
           more=["Sec-WebSocket-Extensions: foo", "Sec-WebSocket-Extensions: bar; baz=2"]),
] + [_refused("9.1", f"the offer of extensions {value!r}", 400,
              more=[f"Sec-WebSocket-Extensions: {value}"]) for value in [
    "", ",", ";", "foo;", "foo; ;bar", "foo bar", "foo; bar=", "foo; =bar", "foo; bar=\"",
    "foo; bar=\"a b\"", "foo; bar=\"\"", "foo=bar", "foo; bar=a b", "foo; bar=\"a\"b", "f(o)"]] + [
    _taken("11.3.4", f"the offer of subprotocols {value!r}, none of which is chosen,",
           more=[f"Sec-WebSocket-Protocol: {value}"]) for value in [
        "chat", "chat, superchat", "chat,superchat", ", chat ,", "v1.example.com"]] + [
    _taken("11.3.4", "an offer of subprotocols in two lines",
           more=["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: superchat"]),
] + [_refused("11.3.4", f"the offer of subprotocols {value!r}", 400,
              more=[f"Sec-WebSocket-Protocol: {value}"]) for value in [
    "", ",", "chat superchat", "chat; x", "chat/1", "\"chat\"", "caf\xe9"]]

OTHERS = [
    _taken("4.2.1", "an Origin", more=["Origin: https://example.com"]),
    _taken("4.2.1", "the Origin null", more=["Origin: null"]),
    _taken("4.2.1", "a header that nobody knows", more=["X-Other: \xe4\xf6\xfc"]),
    _taken("4.2.1", "an empty header", more=["X-Other:"]),
    _taken("4.2.1", "a handshake with cookies", more=["Cookie: a=b; c=d", "Cookie: e=f"]),
    _taken("4.2.1", "headers in lower case",
           order=lambda lines: [f"{a.lower()}:{b}" for a, _, b in
                                (line.partition(":") for line in lines)]),
    _taken("4.2.1", "headers in upper case",
           order=lambda lines: [f"{a.upper()}:{b}" for a, _, b in
                                (line.partition(":") for line in lines)]),
    _taken("4.2.1", "headers in another order", order=lambda lines: lines[::-1]),
    _taken("4.2.1", "headers without a blank behind the colon",
           order=lambda lines: [line.replace(": ", ":") for line in lines]),
    _taken("4.2.1", "a head of 100 headers", more=[f"X-{n}: {n}" for n in range(95)]),
    _taken("4.2.1", "a Content-Length of 0", more=["Content-Length: 0"]),
    Case("4.2.1", "a head of 16 KiB less one byte is taken", request_=_of_size(BIG - 1)),
    Case("4.2.1", "an empty line in front is taken", request_=b"\r\n" + request()),
    _refused("4.2.1", "a head of 101 headers", 431, more=[f"X-{n}: {n}" for n in range(96)]),
    _raw("4.2.1", "a head beyond 16 KiB", 431, _of_size(BIG + 1)),
    _raw("4.2.1", "a header without an end", 431, request()[:-4] + b"x" * BIG),
    _raw("4.2.1", "a request line without an end", 414, b"GET /" + b"x" * BIG),
    _raw("4.2.1", "a body", 400, request(more=["Content-Length: 4"]) + b"body"),
    _raw("4.2.1", "a body in chunks", 400,
         request(more=["Transfer-Encoding: chunked"]) + b"4\r\nbody\r\n0\r\n\r\n"),
    _refused("4.2.1", "two lengths", 400, more=["Content-Length: 0", "Content-Length: 0"]),
    _refused("4.2.1", "a folded header", 400, more=["X-Other: a", " b"]),
    _refused("4.2.1", "a header without a colon", 400, more=["X-Other"]),
    _refused("4.2.1", "a header without a name", 400, more=[": x"]),
    _refused("4.2.1", "a blank before the colon", 400, more=["X-Other : x"]),
    _refused("4.2.1", "a control character", 400, more=["X-Other: \x01"]),
    _refused("4.2.1", "a NUL", 400, more=["X-Other: \0"]),
    _raw("4.2.1", "lines that end in LF alone", 400, request().replace(b"\r\n", b"\n")),
    _raw("4.2.1", "lines that end in CR alone", 400, request().replace(b"\r\n", b"\r")),
    _raw("4.2.1", "white space before the first header", 400,
         request().replace(b"\r\nHost", b"\r\n Host", 1)),
    _raw("4.2.1", "a plain GET of a browser", 426,
         b"GET / HTTP/1.1\r\nHost: server.example.com\r\n\r\n"),
    _raw("4.2.1", "the beginning of TLS", 400,
         bytes.fromhex("16030100c8010000c40303") + b"\1" * 90),
    _raw("4.2.1", "the beginning of HTTP/2", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    _raw("4.2.1", "a frame where a handshake belongs", 400, text("hello\r\n")),
    _raw("4.2.1", "empty lines and no request", 400, b"\r\n" * 20),
]

_HEAD = request()
_BIG = bytes(range(256)) * 256

BEHIND = [
    Case("4.1", f"{name} in one segment with the handshake", send, expect, to=to, behind=True,
         end=end)
    for name, to, send, expect, end in [
        ("a message", "binary", frame(b"hello"), [(BINARY, b"hello")], OPEN),
        ("a text", "text", text("grüße"), [(TEXT, "grüße".encode())], OPEN),
        ("a ping", "binary", ping(b"?"), [(PONG, b"?")], OPEN),
        ("a hundred messages", "binary", b"".join(frame(b"%d" % n) for n in range(100)),
         [(BINARY, b"%d" % n) for n in range(100)], OPEN),
        ("a message of 64 KiB", "binary", frame(_BIG), [(BINARY, _BIG)], OPEN),
        ("a message and a close", "binary", frame(b"hello") + close(1000),
         [(BINARY, b"hello")], 1000),
        ("a close", "binary", close(1001), [], 1001),
        ("an unmasked frame", "binary", frame(b"x", mask=None), [], 1002),
        ("a second handshake", "binary", request(), [], 1002),
        ("text that is not UTF-8", "text", text(b"\xff"), [], 1007)]
] + [
    Case("4.1", f"{count} bytes of a frame in one segment with the handshake",
         [frame(b"hello")[:count], frame(b"hello")[count:]], [(BINARY, b"hello")], behind=True,
         how=PER_FRAME)
    for count in (1, 2, 5, 6, 10)
]

EARLY_ENDS = [
    Case("4.2.1", f"a client that leaves {name} is left alone", status=GONE, request_=data)
    for name, data in [("at once", b"\r\n"), ("behind the request line", _HEAD[:20]),
                       ("before the last byte", _HEAD[:-1])]
]

CASES = (TARGETS + LINES + HOST + UPGRADE + CONNECTION + KEYS + VERSIONS + OFFERS + OTHERS +
         BEHIND + EARLY_ENDS)
