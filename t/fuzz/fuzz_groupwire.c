/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * What nodes say about groups.  The input is a row of messages: a byte for the kind, one for the
 * status, two for the length, and the bytes.  What is read is written again and must be the same;
 * questions and what is told go to a table and to a view as well, which have to stay in their
 * bounds.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/le.h"
#include "mesh/grouptell.h"
#include "mesh/groupview.h"
#include "mesh/groupwire.h"
#include "t/fuzz/fuzz.h"

struct house {
	struct ob__groups groups;
	struct ob__grouptell tell;
	struct ob__groupview view;
	uint64_t now;
	unsigned said;
};

static int tell(void *arg, uint64_t to, uint8_t status, const uint8_t *data, size_t len)
{
	struct house *h = arg;
	struct ob__group_tell_msg m;

	CHECK(ob__group_tell_get(&m, status, data, len) == 0);
	return ++h->said % 11 == 0 || to == 0 ? -1 : 0;
}

static void soon(void *arg)
{
	(void)arg;
}

static int ask(void *arg, uint64_t to, const uint8_t *data, size_t len)
{
	uint64_t life;
	uint64_t version;

	(void)arg;
	(void)to;
	CHECK(ob__group_ask_get(&life, &version, data, len) == 0);
	return 0;
}

static void changed(void *arg, uint64_t hash, bool there)
{
	struct house *h = arg;

	CHECK((hash & OB__GROUP_THERE) == 0);
	ob__grouptell_changed(&h->tell, hash, there);
}

static void on_join(struct house *h, const uint8_t *data, size_t len, bool leave)
{
	struct ob__group_join_msg m;
	uint8_t out[OB__GROUP_JOIN_MAX];

	if (ob__group_join_get(&m, data, len) != 0) {
		return;
	}
	CHECK(ob__group_join_put(out, m.seq, m.group) == len && memcmp(out, data, len) == 0);
	CHECK(ob__group_ok(m.group));
	if (leave) {
		(void)ob__group_leave(&h->groups, m.seq % 8, m.group);
	} else {
		(void)ob__group_join(&h->groups, m.seq % 8, m.group);
		uint64_t hash = ob__group_hash(m.group, strlen(m.group));
		uint64_t number = ob__groupview_join(&h->view, 1, hash, h->now);
		CHECK(ob__groupview_may_have(&h->view, 1, 0, hash, h->now));
		if (m.seq % 3 == 0) {
			ob__groupview_joined(&h->view, 1, number);
		}
	}
	CHECK(ob__groups_count(&h->groups) <= 16);
}

static void on_tell(struct house *h, uint8_t status, const uint8_t *data, size_t len)
{
	struct ob__group_tell_msg m;
	int rc = ob__groupview_told(&h->view, 1, status, data, len, h->now);

	CHECK((rc < 0) == (ob__group_tell_get(&m, status, data, len) != 0));
	if (rc < 0) {
		return;
	}
	uint64_t *entries = malloc(8 * m.count + 1);
	uint8_t *out = malloc(len);
	if (entries != NULL && out != NULL) {
		for (size_t i = 0; i < m.count; i++) {
			entries[i] = ob__group_entry(&m, i);
		}
		CHECK(ob__group_tell_put(out, &m, entries) == len && memcmp(out, data, len) == 0);
	}
	free(entries);
	free(out);
}

static void on_word(const uint8_t *data, size_t len)
{
	char group[OB__GROUP_MAX + 1];
	uint8_t out[OB__GROUP_WORD_MAX];
	size_t used = ob__group_word_get(group, data, len);

	if (used != 0) {
		CHECK(used <= len && ob__group_ok(group));
		CHECK(ob__group_word_put(out, group) == used && memcmp(out, data, used) == 0);
	}
}

static void one(struct house *h, const uint8_t head[4], const uint8_t *data, size_t len)
{
	switch (head[0] % 6) {
	case 0:
	case 1:
		on_join(h, data, len, head[0] % 6 == 1);
		return;
	case 2:
		(void)ob__grouptell_asked(&h->tell, head[1] % 3, data, len, h->now);
		return;
	case 3:
		on_tell(h, head[1], data, len);
		return;
	case 4:
		on_word(data, len);
		return;
	default:
		ob__grouptell_flush(&h->tell);
		ob__groupview_want(&h->view, 1, h->now);
		(void)ob__groupview_sweep(&h->view, h->now);
		(void)ob__grouptell_tick(&h->tell, h->now);
		return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ob__grouptell_ops ops = {.tell = tell, .soon = soon};
	struct house h = {.now = 1000};

	ob__groups_init(&h.groups, 1, 16, 4, changed, &h);
	ob__grouptell_init(&h.tell, &h.groups, 2, 1, &ops, &h);
	ob__groupview_init(&h.view, 3, ask, &h);
	ob__groupview_want(&h.view, 1, h.now);
	while (len >= 4) {
		size_t n = ob__get16(data + 2);
		n = n < len - 4 ? n : len - 4;
		uint8_t *copy = malloc(n > 0 ? n : 1); /* so that a read beyond is seen */
		if (copy == NULL) {
			break;
		}
		memcpy(copy, data + 4, n);
		one(&h, data, copy, n);
		free(copy);
		data += 4 + n;
		len -= 4 + n;
		h.now += 400;
	}
	ob__groupview_free(&h.view);
	ob__grouptell_free(&h.tell);
	ob__groups_free(&h.groups);
	return 0;
}
