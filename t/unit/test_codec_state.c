/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Codec states over a swap: a node with many silent connections, whose codec's slot is pointed at
 * other registrations as the switch does, forth, back, and on before the last one has moved. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "host/client/codec_state.h"
#include "host/client/conn.h"
#include "tap.h"
#include "unit/node_rig.h"

#define MANY 1000

static struct rig_node n;
static struct puppet p;
static struct rig_client clients[MANY];
static int clients_len;
static struct ob__slot *slot;
static struct ob__reg *first; /* the one that was really loaded: version 1 */

/* ---------------------------------------------------------------- the codec's versions */

/* Lines of text.  The state counts them, each version at another place; an answer is VERSION:COUNT.
 */
static const size_t place[] = {0, 0, 8, 3};
static const uint32_t size_of[] = {0, 4, 16, 7};

static uint32_t count_in(uint32_t ver, const void *state)
{
	uint32_t count;

	memcpy(&count, (const char *)state + place[ver], sizeof(count));
	return count;
}

static void put_count(uint32_t ver, void *state, uint32_t count)
{
	memcpy((char *)state + place[ver], &count, sizeof(count));
}

static size_t decode(uint32_t ver, void *state, uint8_t *data, size_t len, ob_packet *out)
{
	uint8_t *nl = memchr(data, '\n', len);

	if (nl == NULL) {
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	put_count(ver, state, count_in(ver, state) + 1);
	out->kind = OB_PACKET_MESSAGE;
	out->id = 1000;
	out->data = data;
	out->len = (size_t)(nl - data);
	return out->len + 1;
}

static size_t encode(uint32_t ver, const void *state, const ob_packet *packet, uint8_t *out,
                     size_t cap)
{
	return (size_t)snprintf((char *)out, cap, "%u:%u:%.*s\n", ver, count_in(ver, state),
	                        (int)packet->len, (const char *)packet->data);
}

#define FUNCTIONS(v)                                                                              \
	static size_t decode_##v(ob_ctx *ctx, void *state, uint8_t *data, size_t len,             \
	                         bool boundary, size_t max, ob_packet *out)                       \
	{                                                                                         \
		return decode(v, state, data, len, out);                                          \
	}                                                                                         \
	static size_t encode_##v(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, \
	                         size_t cap)                                                      \
	{                                                                                         \
		return encode(v, state, packet, out, cap);                                        \
	}
FUNCTIONS(1)
FUNCTIONS(2)
FUNCTIONS(3)

static uint32_t takes[4][4]; /* [to][from]: how many more times */
static int migrations;       /* that worked */
static uint32_t fails_at;    /* a count whose state nothing takes */

static int migrate(uint32_t to, uint32_t from, const void *old, void *state)
{
	CU_ASSERT_FATAL(from >= 1 && from <= 3 && from != to);
	uint32_t count = count_in(from, old);

	if (takes[to][from] == 0 || (fails_at != 0 && count == fails_at)) {
		return OB_E_BAD;
	}
	migrations++;
	put_count(to, state, count);
	return 0;
}

static int migrate_1(ob_ctx *ctx, uint32_t from, const void *old, void *state)
{
	return migrate(1, from, old, state);
}

static int migrate_2(ob_ctx *ctx, uint32_t from, const void *old, void *state)
{
	return migrate(2, from, old, state);
}

static int migrate_3(ob_ctx *ctx, uint32_t from, const void *old, void *state)
{
	return migrate(3, from, old, state);
}

static ob_codec codec_of(uint32_t ver)
{
	static const ob_codec fns[] = {
		{.size = 0},
		{.decode = decode_1, .encode = encode_1, .migrate = NULL},
		{.decode = decode_2, .encode = encode_2, .migrate = migrate_2},
		{.decode = decode_3, .encode = encode_3, .migrate = migrate_3},
	};
	ob_codec c = fns[ver];

	c.size = sizeof(c);
	c.flags = OB_CODEC_STREAM;
	c.overhead = 32;
	c.name = "line";
	c.state_ver = ver;
	c.state_size = size_of[ver];
	return c;
}

/* ---------------------------------------------------------------- generations */

static struct ob__reg others[6];
static size_t others_len;

/* A further generation with this codec, as if it had started. NULL: refused. */
static struct ob__reg *generation(const ob_codec *codec)
{
	struct ob__gen *g = ob__gen_new(n.node, first->gen->module);
	struct ob__reg *reg = &others[others_len++];

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	*reg = (struct ob__reg){.slot = slot, .gen = g, .codec = *codec};
	g->state = OB__GEN_STOPPED; /* of no concern to the node */
	if (ob__codec_acceptable(g, codec, &reg->flags) != 0) {
		return NULL;
	}
	CU_ASSERT_EQUAL(ob__codec_registered(g, reg), 0);
	return reg;
}

static struct ob__reg *version(uint32_t ver)
{
	ob_codec codec = codec_of(ver);

	return generation(&codec);
}

static void switch_to(struct ob__reg *reg)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(reg);
	slot->active = reg;
	ob__conns_codec_switched(n.node, slot);
}

static void commit(void)
{
	ob__conns_codec_committed(n.node, slot);
}

static uint32_t conns_at(uint32_t ver)
{
	uint32_t found = 0;

	for (size_t i = 0; i < OB__CODEC_COUNTED; i++) {
		found += slot->states->versions[i].ver == ver ? slot->states->versions[i].conns : 0;
	}
	return found;
}

/* ---------------------------------------------------------------- the node */

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	ob_reply(ctx, req, v.data, v.len);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_codec codec = codec_of(1);
	int rc = ob_on_codec(ctx, &codec);

	return rc == 0 ? ob_on_id(ctx, 1000, echo) : rc;
}

static void begin(int len)
{
	rig_begin();
	memset(&p, 0, sizeof(p));
	memset(takes, 0, sizeof(takes));
	migrations = 0;
	fails_at = 0;
	others_len = 0;
	p.start = start;
	rig_install("codec_line", "codec_line"); /* idle; the listener implies it */
	rig_start(&n, "n", "x",
	          "'listen': [{'transport': 'tcp', 'codec': 'line', 'port': 0, 'timeout': 0}], "
	          "'log_level': 'notice', 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          (long)(intptr_t)&p);
	slot = ob__slots_codec(&n.node->slots, "line");
	CU_ASSERT_PTR_NOT_NULL_FATAL(slot);
	first = slot->active;
	clients_len = len;
	for (int i = 0; i < len; i++) {
		rig_connect(&clients[i], n.port, false);
		if (i % 100 == 99) {
			rig_turn();
		}
	}
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == (uint32_t)len));
}

static void end(void)
{
	slot->active = first;
	for (int i = 0; i < clients_len; i++) {
		rig_disconnect(&clients[i]);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	CU_ASSERT_EQUAL(slot->conns, 0);
	CU_ASSERT_EQUAL(slot->states->kept, 0);
	for (size_t i = 0; i < OB__CODEC_VERSIONS; i++) {
		CU_ASSERT_EQUAL(slot->states->versions[i].conns, 0);
	}
	for (size_t i = 0; i < others_len; i++) {
		CU_ASSERT_EQUAL(others[i].gen->refs, 0);
	}
	rig_stop(&n);
	rig_end();
}

static void say(int i, const char *text)
{
	rig_send_raw(&clients[i], text, strlen(text));
}

static bool hears(int i, const char *want)
{
	struct rig_client *c = &clients[i];
	size_t len = strlen(want);
	bool came = RIG_UNTIL((rig_pump(c), c->eof || c->packets_len >= len));
	bool same = came && !c->eof && c->packets_len == len && memcmp(c->packets, want, len) == 0;

	if (!same) {
		printf("# client %d got \"%.*s\", expected \"%s\"\n", i, (int)c->packets_len,
		       c->packets_len > 0 ? (char *)c->packets : "", want);
	}
	c->packets_len = 0;
	return same;
}

static void each_hears(int from, const char *want)
{
	for (int i = from; i < clients_len; i++) {
		CU_ASSERT_TRUE_FATAL(hears(i, want));
	}
}

static void each_says(int from, const char *text)
{
	for (int i = from; i < clients_len; i++) {
		say(i, text);
	}
}

/* Turns until nobody has another version; never too many in one turn. */
static void swept(uint32_t ver)
{
	int turns = 0;

	while (conns_at(ver) < (uint32_t)clients_len && turns < 100000) {
		uint32_t before = conns_at(ver);
		rig_turn();
		CU_ASSERT_TRUE(conns_at(ver) - before <= OB__CODEC_PER_TURN);
		turns++;
	}
	CU_ASSERT_EQUAL(conns_at(ver), (uint32_t)clients_len);
	CU_ASSERT_TRUE(turns * (int)OB__CODEC_PER_TURN >= clients_len);
}

static double results(const char *word)
{
	char series[80];

	snprintf(series, sizeof(series), "obhost_codec_states_total{result=\"%s\"}", word);
	double value = rig_metric(&n, series);
	return value < 0 ? 0 : value;
}

/* ---------------------------------------------------------------- tests */

static void test_idle(void)
{
	begin(MANY);
	each_says(0, "one\n");
	each_hears(0, "1:1:one\n");
	each_says(0, "tw"); /* half a packet is kept over it all */
	rig_turn_ms(20);
	takes[2][1] = 1;
	switch_to(version(2));
	CU_ASSERT_EQUAL(migrations, 0); /* nothing in the turn of the switch */
	swept(2);
	CU_ASSERT_EQUAL(migrations, MANY);
	CU_ASSERT_EQUAL(slot->states->kept, MANY);
	each_says(0, "o\n");
	each_hears(0, "2:2:two\n");
	CU_ASSERT_EQUAL(migrations, MANY);

	/* For good: what was kept goes, bit by bit. */
	commit();
	CU_ASSERT_EQUAL(slot->states->kept, MANY);
	for (int turns = 0; slot->states->kept > 0 && turns < 100000; turns++) {
		uint32_t before = slot->states->kept;
		rig_turn();
		CU_ASSERT_TRUE(before - slot->states->kept <= OB__CODEC_PER_TURN);
	}
	CU_ASSERT_EQUAL(slot->states->kept, 0);
	each_says(0, "three\n");
	each_hears(0, "2:3:three\n");
	CU_ASSERT_EQUAL(results("migrated"), MANY);
	end();
}

/* The generation before comes back, and can't read what the new one has written. */
static void test_back(void)
{
	begin(MANY);
	each_says(0, "one\n");
	each_hears(0, "1:1:one\n");
	each_says(0, "ha");
	rig_turn_ms(20);
	takes[2][1] = 1;
	switch_to(version(2));
	swept(2);
	say(0, "lf\nmore\n");
	CU_ASSERT_TRUE(hears(0, "2:2:half\n2:3:more\n"));
	/* who comes now has no state from before */
	rig_disconnect(&clients[1]);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == MANY - 1));
	rig_connect(&clients[1], n.port, false);
	say(1, "a\nb\n");
	CU_ASSERT_TRUE(hears(1, "2:1:a\n2:2:b\n"));

	switch_to(first);
	swept(1);
	CU_ASSERT_EQUAL(slot->states->kept, 0);
	CU_ASSERT_EQUAL(n.node->clients.conns.live, MANY);
	say(0, "x\n");
	CU_ASSERT_TRUE(hears(0, "1:2:x\n"));
	say(1, "x\n");
	CU_ASSERT_TRUE(hears(1, "1:1:x\n"));
	each_says(2, "lf\n");
	each_hears(2, "1:2:half\n");
	CU_ASSERT_EQUAL(results("restored"), MANY - 1);
	CU_ASSERT_EQUAL(results("reset"), 1);
	CU_ASSERT_EQUAL(results("failed"), 0);

	/* And forth again, as if nothing had been. */
	switch_to(version(2));
	commit();
	swept(2);
	CU_ASSERT_EQUAL(slot->states->kept, 0);
	say(0, "y\n");
	CU_ASSERT_TRUE(hears(0, "2:3:y\n"));
	end();
}

/* It can: then nothing is lost that happened meanwhile. */
static void test_back_migrates(void)
{
	begin(10);
	ob_codec codec = codec_of(1);
	codec.migrate = migrate_1;
	struct ob__reg *one = generation(&codec);
	switch_to(one);
	commit();
	each_says(0, "a\n");
	each_hears(0, "1:1:a\n");
	takes[2][1] = takes[1][2] = 1;
	switch_to(version(2));
	swept(2);
	each_says(0, "b\n");
	each_hears(0, "2:2:b\n");
	switch_to(one);
	each_says(0, "c\n"); /* as it is used, too */
	each_hears(0, "1:3:c\n");
	CU_ASSERT_EQUAL(slot->states->kept, 0);
	CU_ASSERT_EQUAL(results("restored"), 0);
	end();
}

/* Back in the middle of the sweep: some have moved, some have not. */
static void test_back_early(void)
{
	begin(MANY);
	each_says(0, "a\n");
	each_hears(0, "1:1:a\n");
	takes[2][1] = 1;
	switch_to(version(2));
	rig_turn();
	rig_turn();
	CU_ASSERT(conns_at(2) > 0 && conns_at(1) > 0);
	uint32_t moved = conns_at(2);
	switch_to(first);
	while (conns_at(1) < MANY) {
		rig_turn();
	}
	CU_ASSERT_EQUAL(results("restored"), moved);
	each_says(0, "b\n");
	each_hears(0, "1:2:b\n");
	end();
}

/* A third version in the middle of the sweep to the second: by way of the second's code, which
 * stays as long as it is needed, and no longer. */
static void test_third(void)
{
	for (int direct = 0; direct < 2; direct++) {
		begin(MANY);
		each_says(0, "a\n");
		each_hears(0, "1:1:a\n");
		takes[2][1] = takes[3][2] = 1;
		takes[3][1] = (uint32_t)direct;
		struct ob__reg *two = version(2);
		switch_to(two);
		rig_turn();
		rig_turn();
		CU_ASSERT(conns_at(2) > 0 && conns_at(1) > 0);
		commit();
		struct ob__reg *three = version(3);
		switch_to(three);
		CU_ASSERT_EQUAL(two->gen->refs, direct ? 0 : 1);
		say(MANY - 1, "b\n"); /* one that still has the first */
		CU_ASSERT_TRUE(hears(MANY - 1, "3:2:b\n"));
		while (conns_at(3) < MANY) {
			uint32_t before = conns_at(3);
			rig_turn();
			CU_ASSERT_TRUE(conns_at(3) - before <= OB__CODEC_PER_TURN);
		}
		CU_ASSERT_TRUE(RIG_UNTIL(two->gen->refs == 0));
		CU_ASSERT_EQUAL(slot->states->kept, MANY);

		/* And the way back leads to the second, for all. */
		switch_to(two);
		while (conns_at(2) < MANY) {
			rig_turn();
		}
		for (int i = 0; i < MANY - 1; i++) {
			say(i, "b\n");
			CU_ASSERT_TRUE(hears(i, "2:2:b\n"));
		}
		CU_ASSERT_EQUAL(n.node->clients.conns.live, MANY);
		CU_ASSERT_EQUAL(results("reset"), 0);
		CU_ASSERT_EQUAL(results("failed"), 0);
		end();
	}
}

static void test_third_refused(void)
{
	begin(MANY);
	takes[2][1] = 1;
	switch_to(version(2));
	rig_turn();
	commit();
	CU_ASSERT(conns_at(1) > 0);

	/* takes neither */
	takes[2][1] = 0;
	takes[3][2] = 1;
	CU_ASSERT_PTR_NULL(version(3));
	CU_ASSERT_PTR_NOT_NULL(strstr(others[1].gen->refused, "still have version 1"));

	/* the first again, but larger, while some still have it */
	ob_codec codec = codec_of(1);
	codec.migrate = migrate_1;
	codec.state_size = 40;
	CU_ASSERT_PTR_NULL(generation(&codec));
	CU_ASSERT_PTR_NOT_NULL(strstr(others[2].gen->refused, "has 4 bytes on"));

	takes[2][1] = 1;
	swept(2);
	switch_to(version(3));
	commit();
	swept(3);
	end();
}

/* One state that nothing takes costs its own connection, never another. */
static void test_fails(void)
{
	begin(20);
	each_says(0, "a\n");
	each_hears(0, "1:1:a\n");
	say(7, "b\n");
	CU_ASSERT_TRUE(hears(7, "1:2:b\n"));
	takes[2][1] = 1;
	fails_at = 2;
	switch_to(version(2));
	CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&clients[7]), clients[7].eof)));
	CU_ASSERT_TRUE(RIG_UNTIL(conns_at(2) == 19));
	CU_ASSERT_EQUAL(results("failed"), 1);
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_closed_total{reason=\"no_codec\"}"), 1);
	fails_at = 0;
	say(8, "c\n");
	CU_ASSERT_TRUE(hears(8, "2:2:c\n"));
	end();
}

/* Without anything to do nothing is done; many reloads of one version leave nothing behind. */
static void test_same_version(void)
{
	begin(10);
	ob_codec codec = codec_of(1);
	struct ob__reg *one = generation(&codec);
	struct ob__reg *two = generation(&codec);
	for (int i = 0; i < 20; i++) {
		switch_to(i % 2 == 0 ? one : two);
		CU_ASSERT_FALSE(slot->states->queued);
		if (i % 3 != 0) {
			commit();
		}
		say(3, "a\n");
		char want[32];
		snprintf(want, sizeof(want), "1:%d:a\n", i + 1);
		CU_ASSERT_TRUE(hears(3, want));
	}
	CU_ASSERT_EQUAL(slot->states->steps_len, 0);
	/* to nobody, and back */
	slot->active = NULL;
	ob__conns_codec_switched(n.node, slot);
	CU_ASSERT_PTR_NULL(slot->states->now.gen);
	switch_to(first);
	say(3, "a\n");
	CU_ASSERT_TRUE(hears(3, "1:21:a\n"));
	end();
}

/* More versions than are counted: nothing else is touched, and those that are stay right. */
static void test_many_versions(void)
{
	enum { VERSIONS = 3 * OB__CODEC_COUNTED };
	static struct ob__conn conns[VERSIONS];
	struct ob__codec_states cs = {.node = NULL};
	struct ob__slot all = {.states = &cs};
	uint32_t counted = 0;

	for (uint32_t i = 0; i < VERSIONS; i++) {
		struct ob__reg reg = {.slot = &all, .codec = {.state_ver = i + 1, .state_size = 1}};
		CU_ASSERT_EQUAL(ob__codec_join(&conns[i], &reg), 0);
		CU_ASSERT_EQUAL(cs.kept, 0);
		CU_ASSERT_PTR_NULL(cs.now.gen);
	}
	for (size_t i = 0; i < OB__CODEC_COUNTED; i++) {
		counted += cs.versions[i].conns;
	}
	CU_ASSERT_EQUAL(counted, OB__CODEC_COUNTED);
	CU_ASSERT_EQUAL(all.conns, VERSIONS);
	for (uint32_t i = 0; i < VERSIONS; i++) { /* the uncounted ones in front and behind */
		ob__codec_leave(&conns[(i + VERSIONS / 2) % VERSIONS]);
		CU_ASSERT_EQUAL(cs.kept, 0);
	}
	for (size_t i = 0; i < OB__CODEC_COUNTED; i++) {
		CU_ASSERT_EQUAL(cs.versions[i].conns, 0);
	}
	CU_ASSERT_EQUAL(all.conns, 0);
}

int main(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 4 * MANY) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("codec_state", NULL, NULL);
	CU_add_test(s, "idle connections", test_idle);
	CU_add_test(s, "back, from what was kept", test_back);
	CU_add_test(s, "back, by its own migrate", test_back_migrates);
	CU_add_test(s, "back before all have moved", test_back_early);
	CU_add_test(s, "a third version before all have moved", test_third);
	CU_add_test(s, "a third version that is refused", test_third_refused);
	CU_add_test(s, "a state that can't be migrated", test_fails);
	CU_add_test(s, "the same version", test_same_version);
	CU_add_test(s, "more versions than are counted", test_many_versions);
	return ob__tap_run();
}
