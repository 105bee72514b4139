#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The module auth on a proxy: nobody gets past it without a token. The tokens are made by others:
PyJWT (python3-jwt), and the openssl program."""

import base64
import json
import os
import subprocess
import time

from obtest.env import MODULES
from obtest.nodes import Node, all_ended, run_obhost
from obtest.seed import Client
from obtest.tap import case, cases, check, contains, equal, main, skip
from obtest.temp import temp_dir

try:
    import jwt
except ImportError:
    jwt = None

ADMIN = {"name": "http_admin", "admin": True}
LOGIN, ECHO, OPEN = 101, 30001, 30000
KEY = "the first key of thirty-two bytes or more"
NEXT = "the key after that, also of thirty-two bytes"
ALGS = ["HS256", "RS256", "ES256"]

house = {}


def openssl(*args, stdin=b""):
    made = subprocess.run(["openssl", *args], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    check(made.returncode == 0, made.stderr)
    return made.stdout


def token(user, expiry, key=KEY):
    """A token of the module's own kind, by the openssl program."""
    text = f"{user}|{int(expiry)}"
    mac = openssl("dgst", "-sha256", "-hmac", key, "-binary", stdin=text.encode())
    return f"{text}|{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def keys():
    """Key pairs, by the openssl program: {alg: (private PEM, file of the public one)}."""
    if "keys" not in house:
        folder = temp_dir("keys")
        made = {}
        for alg, options in (("RS256", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
                             ("ES256", ["-algorithm", "EC", "-pkeyopt",
                                        "ec_paramgen_curve:P-256"])):
            private = openssl("genpkey", *options)
            (folder / f"{alg}.pem").write_bytes(openssl("pkey", "-pubout", stdin=private))
            made[alg] = (private.decode(), str(folder / f"{alg}.pem"))
        (folder / "hmac").write_text(KEY + "\n", encoding="ascii")
        made["HS256"] = (KEY, str(folder / "hmac"))
        house["keys"] = made
    return house["keys"]


def has_jwt():
    """Was the module built with JSON Web Tokens?"""
    with open(os.path.join(MODULES, "auth.so"), "rb") as file:
        return b"libjwt.so" in file.read()


def need_jwt():
    if jwt is None:
        skip("needs python3-jwt")
    if not has_jwt():
        skip("built without libjwt")


def conf(**more):
    return {"login": LOGIN, "open": [OPEN], "deadline": 60, "skew": 5,
            "hmac": {"keys": [{"secret": KEY}]}, **more}


def jwt_rules(**more):
    entries = [{"alg": alg, "file": keys()[alg][1]} for alg in ("RS256", "ES256")]
    entries.append({"alg": "HS256", "secret": {"file": keys()["HS256"][1]}})
    return {"algorithms": ALGS, "keys": entries, "issuer": "shop", "audience": "game",
            "claims": {"role": "role", "level": "level"}, **more}


def start(name, settings, **more):
    modules = ["proxy", ADMIN, {"name": "auth", "conf": settings}, "echo"]
    return Node(name, "proxy", modules=modules, rpc=None, **more).start()


def gate():
    if "gate" not in house:
        settings = conf()
        if jwt is not None and has_jwt():
            settings["jwt"] = jwt_rules()
        house["gate"] = start("gate", settings)
    return house["gate"]


def login(client, text):
    return client.ask(LOGIN, {"token": text})


def refused(node, word):
    return node.metric(f"obhost_module_auth_refused_{word}_total") or 0


@case("before the login everything but what is open is refused, and counted")
def before():
    node = gate()
    early = node.metric("obhost_module_auth_early_total") or 0
    with Client(node.ws_port) as client:
        equal(client.code(ECHO, {}), 403)
        equal(client.code(4711, {}), 403)
        check(client.ask(OPEN, {"a": 1}) is not None)
        answer = login(client, token("ann", time.time() + 60))
        equal((answer["code"], answer["data"]["user"]), (200, "ann"))
        equal(client.ask(4711, {})["code"], 404)
        sessions = node.get("/sessions")["sessions"]
        equal([s.get("user") for s in sessions if s.get("user")], ["ann"])
    equal(node.metric("obhost_module_auth_early_total"), early + 2)


BAD = [
    ("expired", lambda: token("bob", time.time() - 10)),
    ("bad_signature", lambda: token("bob", time.time() + 60, NEXT)),
    ("bad_signature", lambda: token("bob", time.time() + 60).replace("bob", "ann")),
    ("malformed", lambda: "bob|0|"),
    ("malformed", lambda: token("x" * 65, time.time() + 60)),
    ("too_big", lambda: "x" * 8193),
    ("too_big", lambda: "x" * 100000),
]


@cases(BAD, "a token is refused: {0}")
def bad(word, make):
    node = gate()
    counted = refused(node, word)
    with Client(node.ws_port) as client:
        answer = login(client, make())
        equal((answer["code"], answer["error"]), (413 if word == "too_big" else 403, word))
        equal(refused(node, word), counted + 1)
        equal(client.code(ECHO, {}), 403)


@case("who has no token for too long, or too many bad ones, is closed with a code of its own")
def closed():
    node = start("strict", conf(deadline=0.5, attempts=2))
    with Client(node.ws_port) as late, Client(node.ws_port) as early, \
            Client(node.ws_port) as many:
        equal(login(early, token("ann", time.time() + 60))["code"], 200)
        equal(login(many, "a")["code"], 403)
        equal(login(many, "b")["code"], 403)
        equal(many.close_code(), 4403)
        equal(late.close_code(), 4401)
        equal(early.ask(4711, {})["code"], 404)
        equal(node.metric("obhost_module_auth_late_total"), 1)
        equal(node.metric("obhost_module_auth_attempts_total"), 1)
    node.stop()


@case("keys are exchanged while clients are connected; both are taken in between")
def rotation():
    node = start("turn", conf())
    with Client(node.ws_port) as old:
        equal(login(old, token("ann", time.time() + 60))["code"], 200)
        for settings, good, wrong in (
                (conf(hmac={"keys": [{"secret": NEXT}, {"secret": KEY}]}), [KEY, NEXT], []),
                (conf(hmac={"keys": [{"secret": NEXT}]}), [NEXT], [KEY])):
            node.conf["modules"][2]["conf"] = settings
            node.write_conf()
            equal(node.http("POST", "/config/reload").status, 200)
            for key in good:
                with Client(node.ws_port) as client:
                    equal(login(client, token("bob", time.time() + 60, key))["code"], 200)
            for key in wrong:
                with Client(node.ws_port) as client:
                    equal(login(client, token("bob", time.time() + 60, key))["error"],
                          "bad_signature")
            equal(old.ask(4711, {})["code"], 404)
        node.reload("auth", force=True)
        equal(old.ask(4711, {})["code"], 404)
        text = json.dumps(node.get("/modules")) + run_obhost("-T", "-c", str(node.conf_file)).stdout
        check(KEY not in text and NEXT not in text, "a key is shown")
    check(KEY not in node.log(), "a key is in the log")
    node.stop()


def claims(**more):
    now = int(time.time())
    return {"sub": "jo", "iss": "shop", "aud": "game", "exp": now + 60, "iat": now,
            "role": "gm", "level": 7, **more}


@cases([(alg,) for alg in ALGS], "JSON Web Tokens with {0}, by PyJWT")
def web(alg):
    need_jwt()
    node = gate()
    with Client(node.ws_port) as client:
        answer = login(client, jwt.encode(claims(sub=f"jo-{alg}"), keys()[alg][0], algorithm=alg))
        equal((answer["code"], answer["data"]["user"]), (200, f"jo-{alg}"))
        equal(client.ask(4711, {})["code"], 404)


def unsigned():
    return jwt.encode(claims(), None, algorithm="none")


def confused():
    """The public key, as the secret of an HMAC; PyJWT would refuse to make it."""
    with open(keys()["RS256"][1], encoding="ascii") as file:
        pem = file.read()
    head, body, _ = jwt.encode(claims(), KEY, algorithm="HS256").split(".")
    mac = openssl("dgst", "-sha256", "-mac", "HMAC", "-macopt",
                  "hexkey:" + pem.encode().hex(), "-binary", stdin=f"{head}.{body}".encode())
    return f"{head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def made(alg="HS256", key=None, **more):
    return lambda: jwt.encode(claims(**more), key or keys()[alg][0], algorithm=alg)


WEB_BAD = [
    ("wrong_algorithm", "alg none", unsigned),
    ("wrong_algorithm", "an algorithm that is not allowed", made("HS512", KEY * 2)),
    ("bad_signature", "the RSA key as a secret", confused),
    ("bad_signature", "another secret", made(key=NEXT)),
    ("expired", "it is over", made(exp=int(time.time()) - 10)),
    ("not_yet_valid", "it begins later", made(nbf=int(time.time()) + 600)),
    ("wrong_audience", "it is for others", made(aud="web")),
    ("wrong_issuer", "others have made it", made(iss="bazaar")),
    ("bad_claim", "a user that is too long", made(sub="x" * 65)),
    ("bad_claim", "a claim that does not fit", made(role="x" * 257)),
    ("too_big", "it is huge", made(role="x" * 9000)),
]


@cases(WEB_BAD, "a JSON Web Token is refused: {0}: {1}")
def web_bad(word, why, make):
    need_jwt()
    node = gate()
    counted = refused(node, word)
    with Client(node.ws_port) as client:
        answer = login(client, make())
        equal((answer["code"], answer["error"]), (413 if word == "too_big" else 403, word), why)
        equal(refused(node, word), counted + 1)
        equal(client.code(ECHO, {}), 403)


@case("a module built without JSON Web Tokens says so, one with them names a bad key")
def wrong_conf():
    settings = {"login": 1, "jwt": {"keys": [{"alg": "RS256", "secret": KEY}]}}
    node = Node("wrong", "proxy", modules=["proxy", {"name": "auth", "conf": settings}], rpc=None)
    node.launch()
    check(node.wait() != 0)
    contains(node.log(), "jwt.keys[0]" if has_jwt() else "no JWT")


if __name__ == "__main__":
    main(all_ended)
