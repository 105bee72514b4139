/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Fuzz target: what nodes say of members.  The input's first byte chooses: a record, which must
 * keep its promises and be written again as the same bytes; or a message to a route node's view or
 * to a directory, which must stay whole whatever it is told.
 *
 *     byte 0  0 record | else the system id: ANNOUNCE + byte - 1, sent to the view or the directory
 */

#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/map.h"
#include "mesh/directory.h"
#include "mesh/dirview.h"
#include "mesh/member.h"
#include "mesh/proto.h"
#include "t/fuzz/fuzz.h"

#define HEAD_DESC_LEN 28u

static void check_text(const char *text, size_t max, char lowest)
{
	size_t len = strnlen(text, max);
	CHECK(len > 0 && len < max);
	for (size_t i = 0; i < len; i++) {
		CHECK(text[i] >= lowest && text[i] <= '~');
	}
}

static void check_description(const struct ob__description *d)
{
	check_text(d->name, OB__MEMBER_NAME, '!');
	check_text(d->role, OB__MEMBER_NAME, '!');
	CHECK(d->id == ob__node_id(d->name));
	CHECK(d->addresses_len <= OB__MEMBER_ADDRESSES);
	for (size_t i = 0; i < d->addresses_len; i++) {
		struct ob__address a;
		char text[OB__MEMBER_ADDRESS];
		check_text(d->addresses[i], OB__MEMBER_ADDRESS, ' ');
		CHECK(ob__address_get(&a, d->addresses[i]) == 0);
		CHECK(a.kind == OB__ADDRESS_OTHER || ob__address_put(&a, text) == 0);
	}
	CHECK(d->ranges_len <= OB__MEMBER_RANGES);
	for (size_t i = 0; i < d->ranges_len; i++) {
		struct ob__member_range r = ob__description_range(d, i);
		CHECK(r.lo <= r.hi);
	}
	struct ob__member_module module;
	size_t modules = 0;
	for (size_t pos = 0; ob__description_module(d, &pos, &module);) {
		check_text(module.name, OB__MEMBER_NAME, '!');
		check_text(module.version, OB__MEMBER_NAME, ' ');
		modules++;
	}
	CHECK(modules == d->modules_len && modules <= OB__MEMBER_MODULES);
}

/* The id is a hash of the name, which no mutation finds: a name in front gets it put right. */
static void mend(uint8_t *record, size_t len)
{
	if (len < OB__MEMBER_HEAD + 6 || record[OB__MEMBER_HEAD] != 1) {
		return;
	}
	char name[OB__MEMBER_NAME] = "";
	size_t room = len - OB__MEMBER_HEAD - 4;
	memcpy(name, record + OB__MEMBER_HEAD + 4,
	       room < sizeof(name) - 1 ? room : sizeof(name) - 1);
	uint64_t id = ob__node_id(name);
	for (int i = 0; i < 8; i++) {
		record[i] = (uint8_t)(id >> 8 * i);
	}
}

static void fuzz_record(uint8_t *data, size_t len)
{
	struct ob__member m;
	const uint8_t *wire;
	size_t wire_len;
	mend(data, len);
	int n = ob__member_get(&m, data, len, &wire, &wire_len);
	if (n < 0) {
		return;
	}
	CHECK((size_t)n <= len && (size_t)n <= OB__MEMBER_MAX);
	CHECK((size_t)n == OB__MEMBER_HEAD + wire_len);
	int rc = ob__description_get(&m.desc, m.id, wire, wire_len);
	CHECK(ob__description_get(NULL, m.id, wire, wire_len) == rc);
	if (rc < 0) {
		return;
	}
	uint8_t back[OB__MEMBER_MAX];
	check_description(m.desc);
	CHECK(ob__member_put(&m, true, back, (size_t)n - 1) == 0);
	CHECK(ob__member_put(&m, true, back, sizeof(back)) == (size_t)n);
	data[27] &= 1; /* unknown flags are not kept */
	CHECK(memcmp(back, data, (size_t)n) == 0);
	ob__description_unref(m.desc);
}

/* ---------------------------------------------------------------- both halves */

static int send(void *arg, uint64_t to, uint32_t sys, const uint8_t *data, size_t len)
{
	(void)arg;
	CHECK(to != 0 && ob__dir_kind(sys) >= 0 && len <= OB__DIR_PAYLOAD_MAX);
	CHECK(len == 0 || data != NULL);
	return 0;
}

static bool linked(void *arg, uint64_t id)
{
	(void)arg;
	return id % 2 == 0;
}

static void on_node(void *arg, unsigned change, struct ob__dir_node *node,
                    const struct ob__member *old)
{
	(void)arg;
	CHECK(change != 0 && (old == NULL) == (change == OB__DIR_ADDED));
	check_description(node->m.desc);
	CHECK(node->m.id == node->m.desc->id);
}

static void on_stale(void *arg, bool stale)
{
	(void)arg;
	(void)stale;
}

static void on_clash(void *arg, uint64_t incarnation)
{
	ob__directory_incarnation(arg, incarnation + 1, 0);
}

static void on_answer(void *arg, uint64_t source, const struct ob__member *m)
{
	(void)arg;
	CHECK(source == 1 && m->id != 0);
}

static void fuzz_view(uint32_t sys, uint8_t *data, size_t len)
{
	static const struct ob__dirview_ops ops = {.send = send};
	struct ob__dirview v;
	uint64_t id = 1;
	CHECK(ob__dirview_init(&v, 7, 1, NULL, &ops, NULL, 0) == 0);
	if (sys == OB__SYS_MEMBER_ANNOUNCE && len >= OB__MEMBER_HEAD) {
		mend(data, len);
		memcpy(&id, data, sizeof(id));
		id = le64toh(id) != 0 ? le64toh(id) : 1;
	}
	CHECK(ob__dirview_link_up(&v, id, 0, ob__fnv1a32("proxy")) == 0);
	for (uint64_t now = 0; now < 20000; now += 4000) {
		ob__dirview_receive(&v, id, sys, data, len, now);
		ob__dirview_tick(&v, now);
	}
	ob__dirview_free(&v);
}

static void fuzz_directory(uint32_t sys, uint8_t *data, size_t len)
{
	static const struct ob__directory_ops ops = {
		.send = send,
		.linked = linked,
		.on_node = on_node,
		.on_stale = on_stale,
		.on_clash = on_clash,
		.on_answer = on_answer,
	};
	struct ob__directory d;
	ob__directory_init(&d, 2, 7, 1, &ops, &d, 0);
	if (len > OB__DELTA_HEAD) {
		mend(data + OB__DELTA_HEAD, len - OB__DELTA_HEAD);
	}
	CHECK(ob__directory_source_up(&d, 1, 0) == 0);
	for (uint64_t now = 0; now < 3000; now += 1000) {
		if (ob__directory_receive(&d, 1, sys, data, len, now) < 0) {
			ob__directory_source_down(&d, 1, now);
			CHECK(ob__directory_source_up(&d, 1, now) == 0);
		}
		ob__directory_tick(&d, now);
	}
	ob__directory_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0) {
		return 0;
	}
	/* Ends where it says, so that a read beyond is seen. */
	uint8_t *copy = malloc(len > 1 ? len - 1 : 1);
	if (copy == NULL) {
		return 0;
	}
	memcpy(copy, data + 1, len - 1);
	uint32_t sys = OB__SYS_MEMBER_ANNOUNCE + data[0] % 9u - 1;
	if (data[0] % 9u == 0) {
		fuzz_record(copy, len - 1);
	} else if (ob__dir_kind_for_view((enum ob__dir_kind)ob__dir_kind(sys))) {
		fuzz_view(sys, copy, len - 1);
	} else {
		fuzz_directory(sys, copy, len - 1);
	}
	free(copy);
	return 0;
}
