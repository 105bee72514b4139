# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""Encrypted clients of the obespoir protocol, `encode` 1 and 2, written from the description in
modules/codec_obespoir/README.md with ciphers that are not OpenSSL's interface in C as the node uses
it, but Python's package cryptography."""

import hashlib
import hmac
import json
import socket
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .env import SLOW
from .seed import HEADER, Closed, Raw, packet
from .tap import Failed

LABEL = b"obhost-encode-2"
VERSION = 1
HELLO, ANSWER, TAG = 37, 69, 16


def public_bytes(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def hello(key_bytes, version=VERSION, length=HELLO):
    return struct.pack("<IB", length, version) + key_bytes


class NoProof(Exception):
    """The server has not shown that it knows the token."""


def derive(secret, token, hello_bytes, answer_bytes):
    """Keys of the client and the server, and what the server's proof must be."""
    token_key = hmac.digest(LABEL, token, "sha256") if token is not None else bytes(32)
    said = hashlib.sha256(LABEL + hello_bytes + answer_bytes[:HELLO]).digest()
    keys = HKDF(hashes.SHA256(), 96, token_key, LABEL + said).derive(secret)
    return keys[:32], keys[32:64], hmac.digest(keys[64:], said, "sha256")


class Seal:
    """One side of a connection with encode 2, without the connection."""

    def __init__(self, token=None, key=None):
        self.token = token.encode() if isinstance(token, str) else token
        self.private = X25519PrivateKey.from_private_bytes(key) if key else \
            X25519PrivateKey.generate()
        self.hello = hello(public_bytes(self.private))
        self.out = self.back = None
        self.sent = self.got = 0

    def answer(self, data, check=True):
        """The server's answer to self.hello; `check` false: goes on whoever it may be."""
        length, version = struct.unpack_from("<IB", data)
        if (length, version, len(data)) != (ANSWER, VERSION, ANSWER):
            raise Failed(f"no answer of a handshake: {data!r}")
        secret = self.private.exchange(X25519PublicKey.from_public_bytes(data[5:HELLO]))
        self.out, self.back, proof = derive(secret, self.token, self.hello, data)
        if check and not hmac.compare_digest(proof, data[HELLO:]):
            raise NoProof()

    def seal(self, message_id, body=b""):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        head = struct.pack("<I", HEADER.size + len(body) + TAG)
        nonce = struct.pack(">IQ", 0, self.sent)
        self.sent += 1
        return head + AESGCM(self.out).encrypt(nonce, struct.pack("<ii", message_id, 0) + body,
                                               head)

    def open(self, data):
        """One packet: id and body. Raises InvalidTag."""
        nonce = struct.pack(">IQ", 0, self.got)
        plain = AESGCM(self.back).decrypt(nonce, data[4:], data[:4])
        self.got += 1
        message_id, version = struct.unpack_from("<ii", plain)
        if version != 0:
            raise Failed(f"version {version}")
        return message_id, plain[8:]


class Blocks:
    """Packets of encode 1."""

    def __init__(self, token):
        self.cipher = Cipher(algorithms.AES(token.encode()), modes.ECB())
        self.hello = None

    def seal(self, message_id, body=b""):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        padder = padding.PKCS7(128).padder()
        encryptor = self.cipher.encryptor()
        body = padder.update(body) + padder.finalize()
        return packet(message_id, encryptor.update(body) + encryptor.finalize())

    def open(self, data):
        decryptor, unpadder = self.cipher.decryptor(), padding.PKCS7(128).unpadder()
        body = decryptor.update(data[HEADER.size:]) + decryptor.finalize()
        return HEADER.unpack_from(data)[1], unpadder.update(body) + unpadder.finalize()


class Plain:
    """Packets of encode 0."""

    hello = None
    seal = staticmethod(packet)

    @staticmethod
    def open(data):
        return HEADER.unpack_from(data)[1], data[HEADER.size:]


class Tcp:
    """A connection as bytes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10 * SLOW)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.socket.sendall(data)

    def read(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(None)
        return data

    def drop(self):
        self.socket.close()


class Ws(Raw):
    """The same in messages of WebSocket."""

    read = Raw.message


class Client:
    """Speaks in packets over "tcp" or "ws", encrypted by `how`: Seal, Blocks or Plain."""

    def __init__(self, transport, port, how, check=True):
        self.line = (Tcp if transport == "tcp" else Ws)(port)
        self.how = how
        self.data = b""
        try:
            if how.hello:
                self.line.send(how.hello)
                how.answer(self.cut(), check)
        except BaseException:
            self.line.drop()
            raise

    def cut(self):
        """The bytes of the next packet."""
        while len(self.data) < 4 or len(self.data) < struct.unpack_from("<I", self.data)[0]:
            self.data += self.line.read()
        length = struct.unpack_from("<I", self.data)[0]
        found, self.data = self.data[:length], self.data[length:]
        return found

    def tell(self, message_id, body=b""):
        self.line.send(self.how.seal(message_id, body))

    def packet(self):
        return self.how.open(self.cut())

    def ask(self, message_id, body=b""):
        """Sends a request; the bytes of its answer."""
        self.tell(message_id, body)
        got, answer = self.packet()
        if got != message_id:
            raise Failed(f"packet {got} {answer!r}, expected {message_id}")
        return answer

    def end(self):
        """Reads until the node closes: its code over WebSocket, else None."""
        try:
            while True:
                self.cut()
        except Closed as closed:
            return closed.code
        finally:
            self.line.drop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.line.drop()


__all__ = ["Blocks", "Client", "InvalidTag", "NoProof", "Plain", "Seal", "Tcp", "Ws", "hello",
           "derive", "public_bytes"]
