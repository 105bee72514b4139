#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""play.py [HOST PORT]: a player of the slice, in firefly's packets: logs in, makes a role if there
is none, enters, moves, scores, and goes. Run it again: the score is still there."""

import json
import socket
import struct
import sys

HEAD = b"N%&0" + bytes([9]) + bytes(4)


class Player:
    def __init__(self, host, port, timeout=10):
        self.socket = socket.create_connection((host, port), timeout)
        self.file = self.socket.makefile("rb")

    def send(self, command, **body):
        data = json.dumps(body).encode()
        self.socket.sendall(HEAD + struct.pack(">II", len(data) + 4, command) + data)

    def receive(self):
        head = self.file.read(17)
        if len(head) < 17:
            raise EOFError("the server has closed")
        length, command = struct.unpack(">II", head[9:])
        return command, json.loads(self.file.read(length - 4))

    def ask(self, command, **body):
        self.send(command, **body)
        got, answer = self.receive()
        while got != command:
            got, answer = self.receive()
        return answer


def main(host="127.0.0.1", port="11009"):
    player = Player(host, int(port))
    answer = player.ask(101, username="chenee", password="chenee")
    print("101", answer)
    if not answer["result"]:
        return 1
    if not answer["data"]["hasRole"]:
        print("102", player.ask(102, rolename="chenee", profession=1))
    print("103", player.ask(103))
    print("602", player.ask(602, x=3, y=4))
    print("603", player.ask(603, points=10))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
