/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * What nodes say about users, pushes to many, and names of states and events: the first byte says
 * which kind of message the rest is.  What is read is written again and must be the same bytes;
 * claims, releases and locks go into a table as well.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/binding.h"
#include "mesh/pushwire.h"
#include "mesh/userwire.h"
#include "t/fuzz/fuzz.h"

static void answer(void *arg, const struct ob__who *who, const char *user, uint64_t call, int code,
                   uint64_t epoch)
{
	(void)arg;
	(void)who;
	(void)call;
	CHECK(code != 0 || (ob__user_ok(user) && epoch < OB__BINDING_EPOCH_MAX));
}

static void fence(void *arg, const struct ob__who *who, const char *user, uint64_t epoch)
{
	(void)arg;
	(void)epoch;
	CHECK(who->node != 0 && ob__user_ok(user));
}

static bool gone(void *arg, uint64_t node, uint64_t seq)
{
	(void)arg;
	return (node + seq) % 5 == 0;
}

static void expired(void *arg, const char *user, const struct ob__binding_lock *lock)
{
	(void)arg;
	CHECK(ob__user_ok(user) && ob__key_ok(lock->key));
}

/* What a length says decides where the next message begins. */
static size_t fuzz_user(struct ob__bindings *t, const uint8_t *data, size_t len, uint64_t now)
{
	struct ob__user_msg m;
	uint8_t out[OB__USER_WIRE_MAX];
	size_t end = len < 13 ? len : 13u + data[12] < len ? 13u + data[12] : len;

	if (ob__user_get(&m, data, end, true) == 0) {
		CHECK(ob__user_put(out, m.user, m.epoch, m.change) == end &&
		      memcmp(out, data, end) == 0);
		struct ob__who who = {1 + m.change % 7, m.change / 7};
		if (m.user[0] != '\0' && m.change % 3 == 0) {
			(void)ob__bindings_release(t, &who, m.user, m.epoch);
		} else if (m.user[0] != '\0') {
			ob__bindings_claim(t, &who, now, m.user, m.epoch, now, now);
		}
	}
	return end;
}

static void fuzz_lock(struct ob__bindings *t, const uint8_t *data, size_t len, uint64_t now)
{
	struct ob__lock_msg m;
	uint8_t out[OB__LOCK_WIRE_MAX];

	if (ob__lock_get(&m, data, len) != 0) {
		return;
	}
	CHECK(ob__lock_put(out, &m) == len && memcmp(out, data, len) == 0);
	struct ob__binding_lock l = {.locker = m.locker, .who = {1 + m.flags % 7, 1}};
	l.until = now + m.ms;
	memcpy(l.key, m.key, sizeof(l.key));
	(void)ob__bindings_lock(t, &l, m.user);
	(void)ob__bindings_unlock(t, &l, m.user, (m.flags & OB__LOCK_KEEP) != 0);
}

static void fuzz_rest(uint8_t kind, const uint8_t *data, size_t len)
{
	uint8_t out[OB__ATTR_WIRE_MAX];
	struct ob__send_msg s;
	struct ob__attr_msg a;
	struct ob__place p;

	if (kind == 0 && ob__send_get(&s, data, len) == 0) {
		size_t head = ob__send_put_head(out, &s);
		CHECK(head + s.len == len && memcmp(out, data, head) == 0 && s.data == data + head);
	} else if (kind == 1 && ob__attr_get(&a, data, len) == 0) {
		CHECK(ob__attr_put(out, a.key, a.value, a.len) == len &&
		      memcmp(out, data, len) == 0);
	} else if (kind == 2 && ob__place_get(&p, data, len) == 0) {
		ob__place_put(out, &p);
		CHECK(memcmp(out, data, len) == 0);
	}
}

static void fuzz_list(enum ob__push_to to, const uint8_t *data, size_t len)
{
	struct ob__push_list l;
	uint8_t out[OB__PUSH_USER_MAX];

	if (ob__push_list_get(&l, to, data, len) != 0) {
		return;
	}
	CHECK(l.count > 0 && l.count <= OB__PUSH_LIST_MAX && l.data + l.len == data + len);
	CHECK(ob__push_head_put(out, l.count, l.at) == OB__PUSH_LIST_HEAD &&
	      memcmp(out, data, OB__PUSH_LIST_HEAD) == 0);
	const uint8_t *at = l.members;
	for (uint32_t i = 0; i < l.count; i++) {
		const uint8_t *before = at;
		size_t size;
		if (to == OB__PUSH_SESSIONS) {
			size = ob__push_session_put(out, ob__push_session_next(&at));
		} else {
			struct ob__push_user u;
			ob__push_user_next(&u, &at);
			size = ob__push_user_put(out, &u);
			CHECK(ob__user_ok(u.user) && size == ob__push_user_size(u.user));
		}
		CHECK(before + size == at && memcmp(out, before, size) == 0);
	}
	CHECK(at == l.data);
}

static void fuzz_named(const uint8_t *data, size_t len)
{
	struct ob__named_msg m;
	uint8_t out[1 + OB__NAMED_WORD_MAX];

	if (ob__named_get(&m, data, len) != 0) {
		return;
	}
	size_t head = ob__named_put_head(out, m.name);
	CHECK(head >= 2 && head + m.len == len && memcmp(out, data, head) == 0);
	CHECK(m.data == data + head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ob__bindings_ops ops = {answer, fence, gone, expired};
	struct ob__bindings t;

	if (len < 2) {
		return 0;
	}
	/* Ends where it says, so that a read beyond is seen. */
	uint8_t *copy = malloc(len - 1);
	if (copy == NULL) {
		return 0;
	}
	memcpy(copy, data + 1, len - 1);
	len--;
	ob__bindings_init(&t, 5, 1, &ops, NULL);
	uint8_t kind = data[0] % 8;
	if (kind == 0) {
		uint64_t now = 1;
		for (size_t at = 0; at < len; now += 500) {
			size_t used = fuzz_user(&t, copy + at, len - at, now);
			at += used;
			ob__bindings_tick(&t, 2, now);
			(void)ob__bindings_sweep(&t, 1000);
		}
	} else if (kind == 1) {
		fuzz_lock(&t, copy, len, 1);
	} else if (kind == 7) {
		fuzz_named(copy, len);
	} else if (kind >= 5) {
		fuzz_list(kind == 5 ? OB__PUSH_SESSIONS : OB__PUSH_USERS, copy, len);
	} else {
		fuzz_rest((uint8_t)(kind - 2), copy, len);
	}
	ob__bindings_tick(&t, 10, UINT64_MAX);
	ob__bindings_free(&t);
	free(copy);
	return 0;
}
