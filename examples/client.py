#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""A client of the demo: login, enter the ranked room, heartbeat, each answer printed.

It shares nothing with obhost but the protocol: a byte stream of packets, each three little-endian
int32 (length with these 12 bytes, message id, version 0) and a JSON body.
"""

import argparse
import asyncio
import json
import struct
import sys

import websockets

HEADER = struct.Struct("<iii")
LOGIN = (1000, "login", {"name": "jamon", "passwd": "test"})
ENTER_RANK_ROOM = (20000, "enter rank room", {"user_id": 10})
HEARTBEAT = (10000, "heartbeat", {})
TIMEOUT = 10


def encode(message_id, body):
    data = json.dumps(body).encode()
    return HEADER.pack(HEADER.size + len(data), message_id, 0) + data


class Client:
    def __init__(self, ws):
        self.ws = ws
        self.buffer = b""

    async def packet(self):
        """The next whole packet as (id, body); packets and WebSocket messages need not agree."""
        while True:
            if len(self.buffer) >= HEADER.size:
                length, message_id, _ = HEADER.unpack_from(self.buffer)
                if length < HEADER.size:
                    raise ValueError(f"a packet of length {length}")
                if len(self.buffer) >= length:
                    body = self.buffer[HEADER.size:length]
                    self.buffer = self.buffer[length:]
                    return message_id, json.loads(body)
            data = await self.ws.recv()
            self.buffer += data.encode() if isinstance(data, str) else data

    async def ask(self, message_id, body):
        """Sends a request and returns its answer; what else comes meanwhile is a push."""
        await self.ws.send(encode(message_id, body))
        while True:
            got, reply = await asyncio.wait_for(self.packet(), TIMEOUT)
            if got == message_id:
                return reply
            print(f"push {got} {json.dumps(reply, ensure_ascii=False)}", flush=True)


async def talk(args):
    """Returns the number of answers whose code is not 200."""
    failed = 0
    messages = args.send or (LOGIN, ENTER_RANK_ROOM, HEARTBEAT)
    async with websockets.connect(f"ws://{args.host}:{args.port}/") as ws:
        client = Client(ws)
        done = 0
        while True:
            for message_id, what, body in messages:
                reply = await client.ask(message_id, body)
                failed += reply.get("code") != 200
                if not args.quiet:
                    text = json.dumps(reply, ensure_ascii=False)
                    print(f"{message_id} {what}: {text}", flush=True)
            done += 1
            if done == args.count:
                break
            await asyncio.sleep(args.interval)
    if args.quiet:
        print(f"{len(messages) * done} answers, {failed} failed")
    return failed


class Send(argparse.Action):
    """--send ID JSON, any number of times."""

    def __call__(self, parser, namespace, values, option_string=None):
        try:
            message = (int(values[0]), "sent", json.loads(values[1]))
        except ValueError:
            parser.error(f"{option_string} takes a number and JSON")
        setattr(namespace, self.dest, (getattr(namespace, self.dest) or []) + [message])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=20000)
    parser.add_argument("--count", type=int, default=1, metavar="N",
                        help="rounds of the three messages; 0: until interrupted")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS",
                        help="pause between rounds")
    parser.add_argument("--send", nargs=2, action=Send, metavar=("ID", "JSON"),
                        help="send this message instead of the three")
    parser.add_argument("--quiet", action="store_true", help="print a sum only")
    args = parser.parse_args()

    sys.stdout.reconfigure(encoding="utf-8")
    try:
        return 1 if asyncio.run(talk(args)) else 0
    except KeyboardInterrupt:
        return 130
    except asyncio.TimeoutError:
        print(f"client.py: no answer within {TIMEOUT} s", file=sys.stderr)
    except (OSError, ValueError, websockets.WebSocketException) as error:
        print(f"client.py: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
