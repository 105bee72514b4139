/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/link_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REASON_SHOWN 100 /* characters of the other side's words */

static int say(struct ob__link *l, enum ob__hello_step step, const uint8_t *payload, size_t len)
{
	struct ob__frame f = {
		.kind = OB__FRAME_HELLO,
		.status = (uint8_t)step,
		.src = l->links->registry->self.id,
		.payload = payload,
		.payload_len = (uint32_t)len,
	};
	return ob__link_put(l, &f);
}

/* Says who this node is, with a fresh nonce. */
static int introduce(struct ob__link *l, enum ob__hello_step step)
{
	const struct ob__identity *self = &l->links->registry->self;
	l->mine = (struct ob__hello){
		.id = self->id,
		.incarnation = self->incarnation,
		.version_min = OB__FRAME_VERSION,
		.version_max = OB__FRAME_VERSION,
	};
	snprintf(l->mine.name, sizeof(l->mine.name), "%s", self->name);
	snprintf(l->mine.role, sizeof(l->mine.role), "%s", self->role);
	l->mine.features = OB__HELLO_PARTS | OB__HELLO_MANY;
	int rc = ob__hello_nonce(l->mine.nonce);
	if (rc < 0) {
		return rc;
	}
	uint8_t payload[OB__HELLO_MAX];
	return say(l, step, payload, ob__hello_put(&l->mine, payload, sizeof(payload)));
}

static int make_mac(const struct ob__link *l, char side, uint8_t mac[OB__HELLO_MAC])
{
	const struct ob__hello *dialer = l->dialer ? &l->mine : &l->theirs;
	const struct ob__hello *acceptor = l->dialer ? &l->theirs : &l->mine;
	return ob__hello_mac(l->key, side, dialer, acceptor, l->exporter, l->exporter_len, mac);
}

static int prove(struct ob__link *l, enum ob__hello_step step)
{
	uint8_t mac[OB__HELLO_MAC];
	int rc = make_mac(l, l->dialer ? 'D' : 'A', mac);
	return rc < 0 ? rc : say(l, step, mac, sizeof(mac));
}

static bool is_proof(const struct ob__link *l, const struct ob__frame *f)
{
	uint8_t mac[OB__HELLO_MAC];
	return f->payload_len == sizeof(mac) && make_mac(l, l->dialer ? 'A' : 'D', mac) == 0 &&
	       ob__hello_mac_equal(mac, f->payload);
}

/* A caller's proof, made with any of the tokens that its role may have; the one that fits stays. */
static bool find_proof(struct ob__link *l, const struct ob__frame *f)
{
	const struct ob__link_keys *keys = &l->links->keys;
	const struct ob__link_key *key;
	if (!ob__link_keys_has(keys)) {
		return is_proof(l, f); /* by certificate: the key is TLS's own */
	}
	for (size_t i = 0; (key = ob__link_keys_for(keys, l->theirs.role, i)) != NULL; i++) {
		memcpy(l->key, key->key, sizeof(l->key));
		if (is_proof(l, f)) {
			return true;
		}
	}
	return false;
}

static void cannot_speak(struct ob__link *l)
{
	ob__link_close(l, OB__LINK_NO_MEMORY, "the handshake could not go on");
}

/* Reads the other's facts; false when the link was closed for them. */
static bool meet(struct ob__link *l, const struct ob__frame *f)
{
	const struct ob__hello spoken = {
		.version_min = OB__FRAME_VERSION,
		.version_max = OB__FRAME_VERSION,
	};
	if (ob__hello_get(&l->theirs, f->payload, f->payload_len) < 0) {
		memset(&l->theirs, 0, sizeof(l->theirs));
		ob__link_refuse(l, OB__LINK_BAD_HELLO, "a malformed hello");
		return false;
	}
	if (l->theirs.id == l->links->registry->self.id) {
		ob__link_refuse(l, OB__LINK_SELF, "both ends have the name %s",
		                l->links->registry->self.name);
		return false;
	}
	if (ob__hello_version(&spoken, &l->theirs) == 0) {
		ob__link_refuse(l, OB__LINK_VERSION, "it speaks versions %u to %u, this node %u",
		                l->theirs.version_min, l->theirs.version_max, OB__FRAME_VERSION);
		return false;
	}
	const char *role = l->remote != NULL ? ob__remote_role(l->remote) : NULL;
	if (role != NULL && strcmp(role, l->theirs.role) != 0) {
		ob__link_refuse(l, OB__LINK_ROLE, "its role is %s, a %s was expected",
		                l->theirs.role, role);
		return false;
	}
	uint64_t node = l->remote != NULL ? ob__remote_node(l->remote) : 0;
	if (node != 0 && node != l->theirs.id) {
		ob__link_refuse(l, OB__LINK_OTHER_NODE, "another node is at this address: %s",
		                l->theirs.name);
		return false;
	}
	return ob__link_check_identity(l);
}

/* Refuses a second link, or a second node of the same name; false when it did. */
static bool check_live(struct ob__link *l)
{
	const struct ob__peer *peer = ob__registry_get(l->links->registry, l->theirs.id);
	if (peer == NULL || peer->link == NULL) {
		return true;
	}
	struct ob__link *live = peer->link;
	if (peer->who.incarnation != l->theirs.incarnation) {
		ob__link_probe(live);
		ob__link_refuse(l, OB__LINK_NAME_TAKEN, "%s is at %s already, and you are at %s",
		                l->theirs.name, live->address, l->address);
		return false;
	}
	if (l->expect == OB__HELLO_WELCOME) {
		return true; /* it is up at the other end: settled between the two links */
	}
	ob__link_probe(live);
	ob__link_refuse(l, OB__LINK_DUPLICATE, "there is a link already");
	return false;
}

/* The peer of a hello that was proved, or NULL when the link was closed. */
static struct ob__peer *enroll(struct ob__link *l)
{
	if (!check_live(l)) {
		return NULL;
	}
	struct ob__registry *r = l->links->registry;
	struct ob__peer *peer = ob__registry_get(r, l->theirs.id);
	if (peer != NULL && peer->who.incarnation > l->theirs.incarnation) {
		ob__warning("link",
		            "%s: its incarnation went back from %" PRIu64 " to %" PRIu64
		            " (is its clock right, and its state_dir kept?)",
		            l->theirs.name, peer->who.incarnation, l->theirs.incarnation);
	}
	struct ob__identity who = {
		.id = l->theirs.id,
		.incarnation = l->theirs.incarnation,
		.name = l->theirs.name,
		.role = l->theirs.role,
	};
	int err;
	peer = ob__registry_put(r, &who, &err);
	if (err == -EEXIST) {
		ob__link_refuse(l, OB__LINK_ROLE_COLLISION,
		                "the role %s has the same number as another role", who.role);
	} else if (err == -ENOSPC) {
		ob__link_refuse(l, OB__LINK_PEERS_FULL, "too many nodes or roles are known here");
	} else if (err < 0) {
		cannot_speak(l);
	}
	return err < 0 ? NULL : peer;
}

/* ---------------------------------------------------------------- the steps */

void ob__link_greet(struct ob__link *l)
{
	l->dialer = true;
	l->state = OB__LINK_HELLO;
	l->expect = OB__HELLO_ACCEPTOR;
	ob__timeout_set(l->links->loop, &l->timeout, l->links->options.hello_ms);
	if (introduce(l, OB__HELLO_DIALER) < 0) {
		cannot_speak(l);
		return;
	}
	ob__stream_read(&l->stream, true);
}

static void on_dialer(struct ob__link *l, const struct ob__frame *f)
{
	if (!meet(l, f)) {
		return;
	}
	l->expect = OB__HELLO_PROOF;
	if (introduce(l, OB__HELLO_ACCEPTOR) < 0) {
		cannot_speak(l);
	}
}

static void on_acceptor(struct ob__link *l, const struct ob__frame *f)
{
	if (!meet(l, f) || !check_live(l)) {
		return;
	}
	l->expect = OB__HELLO_WELCOME;
	if (prove(l, OB__HELLO_PROOF) < 0) {
		cannot_speak(l);
	}
}

static void on_proof(struct ob__link *l, const struct ob__frame *f)
{
	if (!find_proof(l, f)) {
		ob__link_refuse(l, OB__LINK_WRONG_TOKEN,
		                l->links->keys.by_role ? "wrong token for the role %s"
		                                       : "wrong token",
		                l->theirs.role);
		return;
	}
	struct ob__peer *peer = enroll(l);
	if (peer == NULL) {
		return;
	}
	if (prove(l, OB__HELLO_WELCOME) < 0) {
		cannot_speak(l);
		return;
	}
	ob__link_up(l, peer);
}

static void on_welcome(struct ob__link *l, const struct ob__frame *f)
{
	if (!is_proof(l, f)) {
		ob__link_close(l, OB__LINK_WRONG_TOKEN, "its proof is wrong: it has another token");
		return;
	}
	struct ob__peer *peer = enroll(l);
	if (peer == NULL) {
		return;
	}
	if (peer->link != NULL && peer->link->dialer) {
		/* It accepts one at a time, so at its end the first is gone. */
		ob__link_close(peer->link, OB__LINK_REPLACED, "the other side has lost this link");
	}
	if (l->state == OB__LINK_HELLO) {
		ob__link_up(l, peer);
	}
}

static void on_refused(struct ob__link *l, const struct ob__frame *f)
{
	enum ob__link_reason why =
		f->id == OB__REFUSED_DUPLICATE ? OB__LINK_DUPLICATE : OB__LINK_REFUSED;
	l->for_good = f->id == OB__REFUSED_FOR_GOOD;
	int shown = f->payload_len < REASON_SHOWN ? (int)f->payload_len : REASON_SHOWN;
	ob__link_close(l, why, "refused by the other side: %.*s", shown, (const char *)f->payload);
}

void ob__link_on_hello(struct ob__link *l, const struct ob__frame *f)
{
	if (f->kind != OB__FRAME_HELLO) {
		ob__link_close(l, OB__LINK_NOT_HELLO, "it sent a frame before its hello");
	} else if (f->status == OB__HELLO_REFUSED) {
		on_refused(l, f);
	} else if (f->status != l->expect) {
		ob__link_close(l, OB__LINK_OUT_OF_STEP, "step %u of the hello, %u was expected",
		               f->status, l->expect);
	} else if (f->status == OB__HELLO_DIALER) {
		on_dialer(l, f);
	} else if (f->status == OB__HELLO_ACCEPTOR) {
		on_acceptor(l, f);
	} else if (f->status == OB__HELLO_PROOF) {
		on_proof(l, f);
	} else {
		on_welcome(l, f);
	}
}
