/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * What proxies say of a client that comes back to another one, and its token.  The first byte says
 * which of them the rest is.  What is read is written again and must be the same.
 */

#include <stdint.h>
#include <string.h>

#include "mesh/resumewire.h"
#include "t/fuzz/fuzz.h"

static void attrs(struct ob__buf *b, struct ob__give_part part)
{
	CHECK(ob__give_attrs(b, (uint8_t)part.count) == 0);
	for (uint32_t i = 0; i < part.count; i++) {
		struct ob__give_attr attr;
		ob__give_next_attr(&part, &attr);
		CHECK(ob__give_attr(b, attr.key, attr.value, attr.len) == 0);
	}
}

static void homes(struct ob__buf *b, struct ob__give_part part)
{
	CHECK(ob__give_homes(b, (uint16_t)part.count) == 0);
	for (uint32_t i = 0; i < part.count; i++) {
		struct ob__home home;
		ob__give_next_home(&part, &home);
		CHECK(ob__give_home(b, &home) == 0);
	}
}

static void groups(struct ob__buf *b, struct ob__give_part part)
{
	CHECK(ob__give_groups(b, part.count) == 0);
	for (uint32_t i = 0; i < part.count; i++) {
		char group[OB__USER_MAX + 1];
		ob__give_next_group(&part, group);
		CHECK(ob__give_group(b, group) == 0);
	}
}

static void messages(struct ob__buf *b, struct ob__give_part part)
{
	CHECK(ob__give_messages(b, part.count) == 0);
	for (uint32_t i = 0; i < part.count; i++) {
		struct ob__replay_msg msg;
		ob__give_next_message(&part, &msg);
		CHECK(ob__give_message(b, &msg) == 0);
	}
}

static void give(const uint8_t *data, size_t len)
{
	struct ob__give g;
	struct ob__buf b = {0};

	if (ob__give_get(&g, data, len) != 0) {
		return;
	}
	CHECK(ob__give_head(&b, g.sent, g.heard, g.user) == 0);
	CHECK(ob__give_state(&b, g.state, g.state_data, g.state_len) == 0);
	attrs(&b, g.attrs);
	homes(&b, g.homes);
	groups(&b, g.groups);
	messages(&b, g.messages);
	CHECK(b.len == len && memcmp(b.data, data, len) == 0);
	ob__buf_free(&b);
}

static void ask(const uint8_t *data, size_t len)
{
	struct ob__resume_ask a;
	uint8_t out[OB__RESUME_ASK];

	if (ob__resume_ask_get(&a, data, len) == 0) {
		ob__resume_ask_put(out, &a);
		CHECK(len == sizeof(out) && memcmp(out, data, len) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len > 0 && data[0] == 'a') {
		ask(data + 1, len - 1);
	} else if (len > 0) {
		give(data + 1, len - 1);
	}
	return 0;
}
