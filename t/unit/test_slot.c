/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Slots, and a module's kept state, with modules that were never loaded. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/node.h"
#include "tap.h"

static struct ob__node node;
static struct ob__slots *slots = &node.slots;

static void begin(void)
{
	memset(&node, 0, sizeof(node));
	node.loop = ob__loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(node.loop);
	ob__list_init(&node.modules);
	ob__slots_init(slots, 1);
}

static struct ob__module *module_of(const char *name)
{
	struct ob__module *m = ob__module_new(&node, name, NULL, json_object(), false, false);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	return m;
}

static struct ob__gen *gen_of(struct ob__module *m)
{
	struct ob__gen *g = ob__gen_new(&node, m);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	g->state = OB__GEN_STARTING;
	return g;
}

static void take_over(struct ob__gen *g)
{
	struct ob__gen *from = g->module->active;

	if (from != NULL) {
		ob__slots_deactivate(slots, from);
		from->state = OB__GEN_DRAINING;
	}
	ob__slots_activate(slots, g);
	ob__gen_states_commit(g);
	g->state = OB__GEN_ACTIVE;
	g->module->active = g;
	CU_ASSERT_EQUAL(ob__slots_rebuild(slots, &node.modules), 0);
}

static void take_out(struct ob__gen *g)
{
	ob__slots_drop(slots, g);
	if (g->module->active == g) {
		g->module->active = NULL;
	}
	ob__gen_free(g);
}

static void end(void)
{
	OB__LIST_EACH_SAFE (it, &node.modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		OB__LIST_EACH_SAFE (gen, &m->gens) {
			take_out(OB__CONTAINER(gen, struct ob__gen, link));
		}
		ob__module_free(m);
	}
	CU_ASSERT_EQUAL(ob__slots_rebuild(slots, &node.modules), 0);
	CU_ASSERT_EQUAL(slots->filters.len, 0);
	CU_ASSERT_EQUAL(slots->events.len, 0);
	ob__slots_free(slots);
	CU_ASSERT_EQUAL(ob__loop_free(node.loop), 0);
}

static int reg(struct ob__gen *g, enum ob__slot_kind kind, uint64_t id, const char *name,
               struct ob__reg **out)
{
	struct ob__slot_key key = {kind, id, name};
	struct ob__reg *unused;

	return ob__slot_register(slots, g, &key, out != NULL ? out : &unused);
}

/* One-of-a-kind slots. */
static const struct ob__slot_key ones[] = {
	{OB__SLOT_CLIENT_ID, 1000, NULL},
	{OB__SLOT_CLIENT_ID, 0, NULL},
	{OB__SLOT_LINK_ID, 1000, NULL},
	{OB__SLOT_LINK_ID, 0x7fffffff, NULL},
	{OB__SLOT_METHOD, 0, "sys.route.session.push"},
	{OB__SLOT_HTTP, 0, "GET /"},
	{OB__SLOT_HTTP, 0, "* /files/*"},
	{OB__SLOT_CODEC, 0, "obespoir"},
	{OB__SLOT_LISTEN, 0, "tcp 127.0.0.1:7000"},
	{OB__SLOT_POLICY, 0, "least_busy"},
	{OB__SLOT_CLIENT_DECIDER, 0, NULL},
	{OB__SLOT_LINK_DECIDER, 0, NULL},
	{OB__SLOT_UNKNOWN, 0, NULL},
	{OB__SLOT_ERROR_BODY, 0, NULL},
};

static void test_ownership(void)
{
	for (size_t i = 0; i < sizeof(ones) / sizeof(ones[0]); i++) {
		const struct ob__slot_key *k = &ones[i];
		struct ob__reg *first;
		begin();
		struct ob__gen *a = gen_of(module_of("a"));
		struct ob__gen *b = gen_of(module_of("b"));

		/* In the shadow it is taken already, by another and by itself. */
		CU_ASSERT_EQUAL(reg(a, k->kind, k->id, k->name, &first), 0);
		CU_ASSERT_PTR_NULL(first->slot->active);
		CU_ASSERT_PTR_EQUAL(first->slot->shadow, first);
		CU_ASSERT_EQUAL(reg(b, k->kind, k->id, k->name, NULL), OB_E_EXISTS);
		CU_ASSERT_EQUAL(reg(a, k->kind, k->id, k->name, NULL), OB_E_EXISTS);

		/* Once active too. */
		take_over(a);
		CU_ASSERT_PTR_EQUAL(first->slot->active, first);
		CU_ASSERT_PTR_NULL(first->slot->shadow);
		CU_ASSERT_EQUAL(reg(b, k->kind, k->id, k->name, NULL), OB_E_EXISTS);
		CU_ASSERT_EQUAL(reg(a, k->kind, k->id, k->name, NULL), OB_E_EXISTS);

		/* The next generation of its own module may, and until it takes over nothing
		 * changes. */
		struct ob__reg *second;
		struct ob__gen *a2 = gen_of(a->module);
		CU_ASSERT_EQUAL(reg(a2, k->kind, k->id, k->name, &second), 0);
		CU_ASSERT_PTR_EQUAL(second->slot, first->slot);
		CU_ASSERT_PTR_EQUAL(first->slot->active, first);
		CU_ASSERT_PTR_EQUAL(first->slot->shadow, second);

		/* The way back: dropping it leaves the old one. */
		take_out(a2);
		CU_ASSERT_PTR_EQUAL(first->slot->active, first);
		CU_ASSERT_PTR_NULL(first->slot->shadow);

		/* The way on. */
		struct ob__gen *a3 = gen_of(a->module);
		CU_ASSERT_EQUAL(reg(a3, k->kind, k->id, k->name, &second), 0);
		take_over(a3);
		CU_ASSERT_PTR_EQUAL(second->slot->active, second);
		take_out(a);
		CU_ASSERT_PTR_EQUAL(second->slot->active, second);

		/* Gone: free for anyone. */
		take_out(a3);
		CU_ASSERT_EQUAL(reg(b, k->kind, k->id, k->name, NULL), 0);
		end();
	}
}

/* A new generation that no longer asks for it leaves the slot empty. */
static void test_left_out(void)
{
	begin();
	struct ob__gen *a = gen_of(module_of("a"));
	CU_ASSERT_EQUAL(reg(a, OB__SLOT_CLIENT_ID, 5, NULL, NULL), 0);
	take_over(a);
	CU_ASSERT_PTR_NOT_NULL(ob__slots_by_id(slots, true, 5, 0, 0));
	struct ob__gen *a2 = gen_of(a->module);
	take_over(a2);
	CU_ASSERT_PTR_NULL(ob__slots_by_id(slots, true, 5, 0, 0));
	end();
}

/* Taken back: only the generation's own, wherever it stands. */
static void test_off(void)
{
	const struct ob__slot_key id = {OB__SLOT_LINK_ID, 5, NULL};
	const struct ob__slot_key method = {OB__SLOT_METHOD, 0, "user.x.y.z"};
	const struct ob__slot_key unknown = {OB__SLOT_METHOD, 0, "user.x.y.other"};

	begin();
	struct ob__gen *a = gen_of(module_of("a"));
	struct ob__gen *b = gen_of(module_of("b"));
	CU_ASSERT_FALSE(ob__slot_off(slots, a, &id));
	CU_ASSERT_EQUAL(reg(a, OB__SLOT_LINK_ID, 5, NULL, NULL), 0);
	CU_ASSERT_TRUE(ob__slot_off(slots, a, &id)); /* in its start */
	CU_ASSERT_EQUAL(reg(a, OB__SLOT_LINK_ID, 5, NULL, NULL), 0);
	CU_ASSERT_EQUAL(reg(a, OB__SLOT_METHOD, 0, "user.x.y.z", NULL), 0);
	take_over(a);
	CU_ASSERT_FALSE(ob__slot_off(slots, b, &id));
	CU_ASSERT_FALSE(ob__slot_off(slots, b, &method));
	CU_ASSERT_FALSE(ob__slot_off(slots, a, &unknown));
	CU_ASSERT_PTR_NOT_NULL(ob__slots_by_id(slots, false, 5, 0, 0));
	struct ob__gen *a2 = gen_of(a->module);
	CU_ASSERT_EQUAL(reg(a2, OB__SLOT_LINK_ID, 5, NULL, NULL), 0);
	CU_ASSERT_TRUE(ob__slot_off(slots, a, &id)); /* the next one's stays in the shadow */
	CU_ASSERT_PTR_NULL(ob__slots_by_id(slots, false, 5, 0, 0));
	CU_ASSERT_FALSE(ob__slot_off(slots, a, &id));
	uint32_t version = slots->methods_version;
	CU_ASSERT_TRUE(ob__slot_off(slots, a, &method));
	CU_ASSERT_EQUAL(slots->methods_version, version + 1);
	CU_ASSERT_PTR_NULL(ob__slots_method(slots, "user.x.y.z", 10, 0, 0));
	CU_ASSERT_EQUAL(reg(b, OB__SLOT_METHOD, 0, "user.x.y.z", NULL), 0);
	take_over(a2);
	CU_ASSERT_PTR_NOT_NULL(ob__slots_by_id(slots, false, 5, 0, 0));
	end();
}

static void test_states(void)
{
	static const struct {
		enum ob__gen_state state;
		int rc;
	} rows[] = {
		{OB__GEN_LOADED, OB_E_STATE},  {OB__GEN_STARTING, 0},
		{OB__GEN_ACTIVE, 0},           {OB__GEN_DRAINING, OB_E_STATE},
		{OB__GEN_STOPPED, OB_E_STATE}, {OB__GEN_ZOMBIE, OB_E_STATE},
	};

	begin();
	struct ob__gen *g = gen_of(module_of("a"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		g->state = rows[i].state;
		CU_ASSERT_EQUAL(reg(g, OB__SLOT_CLIENT_ID, i + 1, NULL, NULL), rows[i].rc);
	}
	/* Active: at once. */
	CU_ASSERT_PTR_NOT_NULL(ob__slots_by_id(slots, true, 3, 0, 0));
	CU_ASSERT_PTR_NULL(ob__slots_by_id(slots, true, 2, 0, 0));
	end();
}

static void test_ids(void)
{
	begin();
	struct ob__gen *g = gen_of(module_of("a"));
	struct ob__reg *seven;
	struct ob__reg *zero;
	CU_ASSERT_EQUAL(reg(g, OB__SLOT_CLIENT_ID, 7, NULL, &seven), 0);
	CU_ASSERT_EQUAL(reg(g, OB__SLOT_CLIENT_ID, 0, NULL, &zero), 0);
	CU_ASSERT_PTR_NULL(ob__slots_by_id(slots, true, 7, 0, 0)); /* still in the shadow */
	take_over(g);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, true, 7, 0, 0), seven);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, true, 8, 0, 0), zero); /* the fallback */
	CU_ASSERT_PTR_NULL(ob__slots_by_id(slots, false, 7, 0, 0));       /* links are apart */
	CU_ASSERT_PTR_NULL(ob__slots_method(slots, "a.b", 3, 0, 0));
	end();
}

/* What was found for an id is looked at again each time: whoever has the slot now is told. */
static void test_id_again(void)
{
	struct ob__reg *first;
	struct ob__reg *second;
	struct ob__reg *zero;
	struct ob__reg *canary;
	begin();
	struct ob__gen *a = gen_of(module_of("a"));
	CU_ASSERT_EQUAL(reg(a, OB__SLOT_LINK_ID, 0, NULL, &zero), 0);
	take_over(a);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, false, 7, 0, 0), zero);

	struct ob__gen *b = gen_of(module_of("b"));
	CU_ASSERT_EQUAL(reg(b, OB__SLOT_LINK_ID, 7, NULL, &first), 0);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, false, 7, 0, 0), zero);
	take_over(b);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, false, 7, 0, 0), first);
	}
	CU_ASSERT_PTR_NULL(ob__slots_by_id(slots, true, 7, 0, 0));

	struct ob__gen *b2 = gen_of(b->module);
	CU_ASSERT_EQUAL(reg(b2, OB__SLOT_LINK_ID, 7, NULL, &second), 0);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, false, 7, 0, 0), first);
	take_over(b2);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, false, 7, 0, 0), second);

	struct ob__gen *b3 = gen_of(b->module);
	CU_ASSERT_EQUAL(reg(b3, OB__SLOT_LINK_ID, 7, NULL, &canary), 0);
	b3->share = 100; /* of the sessions */
	ob__slots_canary(slots, b3);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, false, 7, 1, 2), canary);

	take_out(b3);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, false, 7, 1, 2), second);
	take_out(b2);
	CU_ASSERT_PTR_EQUAL(ob__slots_by_id(slots, false, 7, 0, 0), zero);
	end();
}

static void test_http(void)
{
	static const char *const names[] = {"GET /",      "GET /a/b",  "* /a/*",
	                                    "GET /a/b/*", "POST /a/b", "PUT /only"};
	static const struct {
		const char *method;
		const char *path;
		const char *name; /* of the slot, or NULL */
		const char *tail;
		bool known;
	} rows[] = {
		{"GET", "/", "GET /", "", true},
		{"POST", "/", NULL, "", true},
		{"GET", "/a/b", "GET /a/b", "", true},
		{"POST", "/a/b", "POST /a/b", "", true},
		/* the exact path has no PUT, the star has any method */
		{"PUT", "/a/b", "* /a/*", "b", true},
		/* the longest star wins, and falls back for a method it has not */
		{"GET", "/a/b/c/d", "GET /a/b/*", "c/d", true},
		{"PUT", "/a/b/c/d", "* /a/*", "b/c/d", true},
		{"GET", "/a/b/", "GET /a/b/*", "", true},
		{"GET", "/a/", "* /a/*", "", true},
		/* the star stands behind a slash only */
		{"GET", "/a", NULL, "", false},
		{"GET", "/ab", NULL, "", false},
		{"GET", "/only", NULL, "", true},
		{"GET", "/only/x", NULL, "", false},
		{"get", "/", NULL, "", true},
		{"GET", "", NULL, "", false},
	};

	begin();
	struct ob__gen *g = gen_of(module_of("a"));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CU_ASSERT_EQUAL(reg(g, OB__SLOT_HTTP, 0, names[i], NULL), 0);
	}
	const char *tail;
	char methods[64];
	CU_ASSERT_PTR_NULL(ob__slots_http(slots, "GET", "/", &tail));
	ob__slots_http_methods(slots, "/", methods, sizeof(methods));
	CU_ASSERT_STRING_EQUAL(methods, ""); /* in the shadow it is not there */
	take_over(g);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__reg *r = ob__slots_http(slots, rows[i].method, rows[i].path, &tail);
		const char *got = r != NULL ? r->slot->name : "-";
		const char *want = rows[i].name != NULL ? rows[i].name : "-";
		ob__slots_http_methods(slots, rows[i].path, methods, sizeof(methods));
		bool known = methods[0] != '\0';
		if (strcmp(got, want) != 0 || strcmp(tail, rows[i].tail) != 0 ||
		    known != rows[i].known) {
			printf("# %s %s: %s \"%s\" %d\n", rows[i].method, rows[i].path, got, tail,
			       known);
			CU_FAIL("another route");
		}
	}

	/* A path longer than any that can be registered matches a star and nothing overflows. */
	char path[4096];
	memset(path, 'x', sizeof(path));
	memcpy(path, "/a/", 3);
	path[sizeof(path) - 1] = '\0';
	CU_ASSERT_PTR_NOT_NULL(ob__slots_http(slots, "GET", path, &tail));
	CU_ASSERT_EQUAL(strlen(tail), sizeof(path) - 4);
	end();
}

static struct ob__reg *chained(struct ob__gen *g, enum ob__slot_kind kind, int priority)
{
	struct ob__reg *r = NULL;
	CU_ASSERT_EQUAL(reg(g, kind, 0, NULL, &r), 0);
	r->priority = priority;
	return r;
}

/* Smaller priorities first, then in the order of the modules, then of registering. */
static void test_chains(void)
{
	begin();
	struct ob__gen *a = gen_of(module_of("a"));
	struct ob__gen *b = gen_of(module_of("b"));
	struct ob__reg *a5 = chained(a, OB__SLOT_FILTER, 5);
	struct ob__reg *a1 = chained(a, OB__SLOT_FILTER, 1);
	struct ob__reg *a5_again = chained(a, OB__SLOT_FILTER, 5);
	struct ob__reg *b5 = chained(b, OB__SLOT_FILTER, 5);
	struct ob__reg *b0 = chained(b, OB__SLOT_FILTER, -7);
	struct ob__reg *up = chained(b, OB__SLOT_EVENT, OB_EVENT_NODE_UP);
	CU_ASSERT_EQUAL(ob__slots_rebuild(slots, &node.modules), 0);
	CU_ASSERT_EQUAL(slots->filters.len, 0); /* nobody is active */
	take_over(b);
	CU_ASSERT_EQUAL(slots->filters.len, 2);
	take_over(a);
	const struct ob__reg *want[] = {b0, a1, a5, a5_again, b5};
	CU_ASSERT_EQUAL_FATAL(slots->filters.len, 5);
	for (size_t i = 0; i < 5; i++) {
		CU_ASSERT_PTR_EQUAL(slots->filters.regs[i], want[i]);
	}
	CU_ASSERT_EQUAL_FATAL(slots->events.len, 1);
	CU_ASSERT_PTR_EQUAL(slots->events.regs[0], up);

	/* A generation that takes over brings its own and takes the old ones out. */
	struct ob__gen *a2 = gen_of(a->module);
	struct ob__reg *late = chained(a2, OB__SLOT_FILTER, 9);
	take_over(a2);
	CU_ASSERT_EQUAL_FATAL(slots->filters.len, 3);
	CU_ASSERT_PTR_EQUAL(slots->filters.regs[2], late);
	end();
}

/* The table is bounded: what is over is refused, what is there can still be exchanged. */
static void test_limit(void)
{
	begin();
	struct ob__gen *g = gen_of(module_of("a"));
	uint64_t id = 1;
	int rc;
	while ((rc = reg(g, OB__SLOT_LINK_ID, id, NULL, NULL)) == 0) {
		id++;
	}
	CU_ASSERT_EQUAL(rc, OB_E_LIMIT);
	CU_ASSERT_EQUAL(id, 65537);
	take_over(g);
	struct ob__gen *next = gen_of(g->module);
	CU_ASSERT_EQUAL(reg(next, OB__SLOT_LINK_ID, 1, NULL, NULL), 0);
	CU_ASSERT_EQUAL(reg(next, OB__SLOT_CLIENT_ID, 1, NULL, NULL), OB_E_LIMIT);
	end();
}

/* ---------------------------------------------------------------- kept state */

static void test_state_same(void)
{
	begin();
	struct ob__module *m = module_of("a");
	struct ob__gen *one = gen_of(m);
	uint64_t *block = ob__gen_state_block(one, "hits", 8, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(block);
	CU_ASSERT_EQUAL(*block, 0);
	CU_ASSERT_PTR_EQUAL(ob__gen_state_block(one, "hits", 8, 1), block);
	CU_ASSERT_PTR_NULL(ob__gen_state_block(one, "hits", 16, 1)); /* asked for differently */
	CU_ASSERT_PTR_NULL(ob__gen_state_block(one, "hits", 8, 2));
	take_over(one);
	*block = 42;

	/* The same block for the next one, while the old one has it too. */
	struct ob__gen *two = gen_of(m);
	CU_ASSERT_PTR_EQUAL(ob__gen_state_block(two, "hits", 8, 1), block);
	take_over(two);
	take_out(one);
	CU_ASSERT_EQUAL(*block, 42);

	/* A generation that does not ask for it leaves it for one that does. */
	struct ob__gen *three = gen_of(m);
	take_over(three);
	take_out(two);
	struct ob__gen *four = gen_of(m);
	CU_ASSERT_PTR_EQUAL(ob__gen_state_block(four, "hits", 8, 1), block);
	end();
}

static void test_state_other(void)
{
	static const struct {
		const char *key;
		size_t size;
		uint32_t version;
	} rows[] = {{"hits", 8, 2}, {"hits", 16, 1}, {"miss", 8, 1}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin();
		struct ob__module *m = module_of("a");
		struct ob__gen *one = gen_of(m);
		uint64_t *old = ob__gen_state_block(one, "hits", 8, 1);
		take_over(one);
		*old = 42;
		struct ob__gen *two = gen_of(m);
		uint64_t *fresh =
			ob__gen_state_block(two, rows[i].key, rows[i].size, rows[i].version);
		CU_ASSERT_PTR_NOT_NULL_FATAL(fresh);
		CU_ASSERT_PTR_NOT_EQUAL(fresh, old);
		CU_ASSERT_EQUAL(*fresh, 0);

		/* Given up: the old one is still the module's. */
		take_out(two);
		CU_ASSERT_EQUAL(*old, 42);
		struct ob__gen *three = gen_of(m);
		CU_ASSERT_PTR_EQUAL(ob__gen_state_block(three, "hits", 8, 1), old);
		end();
	}
}

/* Replaced by another version, the old block lives as long as its generation. */
static void test_state_replaced(void)
{
	begin();
	struct ob__module *m = module_of("a");
	struct ob__gen *one = gen_of(m);
	uint64_t *old = ob__gen_state_block(one, "hits", 8, 1);
	take_over(one);
	struct ob__gen *two = gen_of(m);
	uint64_t *fresh = ob__gen_state_block(two, "hits", 8, 2);
	take_over(two);
	*old = 7;
	*fresh = 8;
	take_out(one);
	struct ob__gen *three = gen_of(m);
	CU_ASSERT_PTR_EQUAL(ob__gen_state_block(three, "hits", 8, 2), fresh);
	end();
}

static void test_state_bounds(void)
{
	char key[16];

	begin();
	struct ob__gen *g = gen_of(module_of("a"));
	CU_ASSERT_PTR_NULL(ob__gen_state_block(g, "k", 0, 1));
	CU_ASSERT_PTR_NULL(ob__gen_state_block(g, "k", (16u << 20) + 1, 1));
	CU_ASSERT_PTR_NOT_NULL(ob__gen_state_block(g, "k", 16u << 20, 1));
	for (int i = 1; i < 64; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		CU_ASSERT_PTR_NOT_NULL(ob__gen_state_block(g, key, 1, 1));
	}
	CU_ASSERT_PTR_NULL(ob__gen_state_block(g, "one more", 1, 1));
	end();
}

/* Asked for while active it is the module's at once. */
static void test_state_late(void)
{
	begin();
	struct ob__module *m = module_of("a");
	struct ob__gen *one = gen_of(m);
	take_over(one);
	void *block = ob__gen_state_block(one, "late", 8, 1);
	struct ob__gen *two = gen_of(m);
	CU_ASSERT_PTR_EQUAL(ob__gen_state_block(two, "late", 8, 1), block);
	end();
}

static void test_words(void)
{
	static const char *const words[] = {"loaded",  "starting", "canary",  "active",
	                                    "standby", "draining", "stopped", "zombie"};

	begin();
	struct ob__gen *g = gen_of(module_of("a"));
	for (int i = 0; i < 8; i++) {
		g->state = (enum ob__gen_state)(OB__GEN_LOADED + i);
		CU_ASSERT_STRING_EQUAL(ob__gen_state_word(g), words[i]);
		CU_ASSERT_EQUAL(ob__gen_live(g), i >= 2 && i <= 5);
	}
	CU_ASSERT_PTR_EQUAL(ob__module_find(&node, "a"), g->module);
	CU_ASSERT_PTR_NULL(ob__module_find(&node, "b"));
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("slot", NULL, NULL);
	CU_add_test(s, "one of a kind: owner, shadow, switch, way back", test_ownership);
	CU_add_test(s, "left out by the next generation", test_left_out);
	CU_add_test(s, "taken back", test_off);
	CU_add_test(s, "registering by state of the generation", test_states);
	CU_add_test(s, "message ids and the fallback", test_ids);
	CU_add_test(s, "the same id again, with other owners", test_id_again);
	CU_add_test(s, "HTTP: the longest path, then the method", test_http);
	CU_add_test(s, "chains in order", test_chains);
	CU_add_test(s, "bounded", test_limit);
	s = CU_add_suite("state", NULL, NULL);
	CU_add_test(s, "the same block for the same version", test_state_same);
	CU_add_test(s, "another key, size or version: a fresh one", test_state_other);
	CU_add_test(s, "a replaced block lives with its generation", test_state_replaced);
	CU_add_test(s, "bounds", test_state_bounds);
	CU_add_test(s, "asked for late", test_state_late);
	CU_add_test(s, "words and look-up", test_words);
	return ob__tap_run();
}
