/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/binding.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define WALL UINT64_C(1700000000000)
#define STEP 1024u /* between a keeper's epochs */

static struct ob__bindings t;
static char said[4096]; /* by callbacks, since it was read last */
static uint64_t dead;   /* node that is gone */

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *fmt, ...)
{
	size_t at = strlen(said);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(said + at, sizeof(said) - at, fmt, ap);
	va_end(ap);
}

static void answer(void *arg, const struct ob__who *who, const char *user, uint64_t call, int code,
                   uint64_t epoch)
{
	(void)arg;
	say("%s:%d.%d call %d %s e%d; ", user, (int)who->node, (int)who->seq, (int)call,
	    code == 0         ? "ok"
	    : code == -ESTALE ? "stale"
	    : code == -ENOSPC ? "full"
	                      : "bad",
	    (int)((epoch - (WALL << 16)) / STEP));
}

static void fence(void *arg, const struct ob__who *who, const char *user, uint64_t epoch)
{
	(void)arg;
	say("fence %s:%d.%d e%d; ", user, (int)who->node, (int)who->seq,
	    (int)((epoch - (WALL << 16)) / STEP));
}

static bool gone(void *arg, uint64_t node, uint64_t seq)
{
	(void)arg;
	(void)seq;
	return node == dead;
}

static void expired(void *arg, const char *user, const struct ob__binding_lock *lock)
{
	(void)arg;
	say("expired %s %s; ", user, lock->key);
}

static const struct ob__bindings_ops ops = {answer, fence, gone, expired};

static void begin(uint32_t limit)
{
	ob__bindings_init(&t, limit, 42, &ops, NULL);
	said[0] = '\0';
	dead = 0;
}

#define SAID(text)                                  \
	do {                                        \
		CU_ASSERT_STRING_EQUAL(said, text); \
		said[0] = '\0';                     \
	} while (0)

static void claim(uint64_t node, uint64_t seq, uint64_t call, const char *user, uint64_t epoch,
                  uint64_t now)
{
	struct ob__who who = {node, seq};
	ob__bindings_claim(&t, &who, call, user, epoch != 0 ? (WALL << 16) + epoch * STEP : 0, WALL,
	                   now);
}

static bool release(uint64_t node, uint64_t seq, const char *user, uint64_t epoch)
{
	struct ob__who who = {node, seq};
	return ob__bindings_release(&t, &who, user,
	                            epoch != 0 ? (WALL << 16) + (epoch - 1) * STEP : 0);
}

static int lock(uint64_t locker, uint64_t node, uint64_t seq, const char *user, const char *key,
                uint64_t until)
{
	struct ob__binding_lock l = {.locker = locker, .who = {node, seq}, .until = until};
	snprintf(l.key, sizeof(l.key), "%s", key);
	return ob__bindings_lock(&t, &l, user);
}

static bool unlock(uint64_t locker, uint64_t node, uint64_t seq, const char *user, const char *key,
                   bool keep)
{
	struct ob__binding_lock l = {.locker = locker, .who = {node, seq}};
	snprintf(l.key, sizeof(l.key), "%s", key);
	return ob__bindings_unlock(&t, &l, user, keep);
}

static bool has(const char *user, uint64_t node, uint64_t seq)
{
	const struct ob__binding *b = ob__bindings_find(&t, user);
	return b != NULL && b->who.node == node && b->who.seq == seq;
}

static void test_claims(void)
{
	begin(10);
	CU_ASSERT_PTR_NULL(ob__bindings_find(&t, "ada"));
	CU_ASSERT_FALSE(release(1, 1, "ada", 0));
	claim(1, 1, 7, "ada", 0, 0);
	SAID("ada:1.1 call 7 ok e0; ");
	CU_ASSERT_TRUE(has("ada", 1, 1));
	claim(1, 1, 8, "ada", 0, 0); /* again, the same: nothing changes */
	SAID("ada:1.1 call 8 ok e0; ");
	claim(1, 2, 9, "bob", 0, 0); /* within one ms epochs are still different */
	SAID("bob:1.2 call 9 ok e1; ");
	CU_ASSERT_EQUAL(t.count, 2);
	CU_ASSERT_FALSE(release(1, 2, "ada", 0)); /* not its */
	CU_ASSERT_FALSE(release(1, 1, "ada", 5)); /* not that binding */
	CU_ASSERT_TRUE(has("ada", 1, 1));
	CU_ASSERT_TRUE(release(1, 1, "ada", 1));
	CU_ASSERT_PTR_NULL(ob__bindings_find(&t, "ada"));
	CU_ASSERT_EQUAL(t.count, 1);
	ob__bindings_free(&t);
}

static void test_replaced(void)
{
	begin(10);
	claim(1, 1, 1, "ada", 0, 0);
	said[0] = '\0';
	claim(2, 1, 2, "ada", 0, 100);
	SAID("fence ada:1.1 e1; "); /* not answered while the former session is not over */
	CU_ASSERT_PTR_NULL(ob__bindings_find(&t, "ada"));
	CU_ASSERT_EQUAL(t.pending, 1);
	ob__bindings_tick(&t, 10, 100 + OB__BINDING_OVER_MS - 1);
	SAID("");
	CU_ASSERT_FALSE(release(1, 1, "ada", 1)); /* its proxy: it is over */
	SAID("ada:2.1 call 2 ok e1; ");
	CU_ASSERT_TRUE(has("ada", 2, 1));
	CU_ASSERT_EQUAL(t.pending, 0);
	CU_ASSERT_TRUE(ob__list_empty(&t.waits));
	ob__bindings_free(&t);
}

static void test_replaced_by_time(void)
{
	begin(10);
	claim(1, 1, 1, "ada", 0, 0);
	claim(2, 1, 2, "ada", 0, 100);
	said[0] = '\0';
	ob__bindings_tick(&t, 10, 100 + OB__BINDING_OVER_MS);
	SAID("ada:2.1 call 2 ok e1; ");
	claim(3, 1, 3, "ada", 0, 5000); /* nor is a proxy waited for that is gone */
	said[0] = '\0';
	dead = 2;
	ob__bindings_tick(&t, 10, 5001);
	SAID("ada:3.1 call 3 ok e2; ");
	dead = 3;
	claim(1, 9, 4, "ada", 0, 6000);
	SAID("fence ada:3.1 e3; ada:1.9 call 4 ok e3; ");
	ob__bindings_free(&t);
}

static void test_claims_waiting(void)
{
	begin(10);
	claim(1, 1, 1, "ada", 0, 0);
	claim(2, 1, 2, "ada", 0, 0);
	said[0] = '\0';
	claim(3, 1, 3, "ada", 0, 0); /* the one that waits is replaced without an answer */
	SAID("fence ada:2.1 e2; ");
	CU_ASSERT_EQUAL(t.pending, 1);
	claim(3, 1, 4, "ada", 0, 0); /* asked again: the last call counts */
	SAID("");
	(void)release(1, 1, "ada", 0);
	SAID("");
	(void)release(2, 1, "ada", 0);
	SAID("ada:3.1 call 4 ok e2; ");
	claim(1, 2, 5, "ada", 0, 0);
	CU_ASSERT_TRUE(release(1, 2, "ada", 0)); /* withdrawn */
	said[0] = '\0';
	(void)release(3, 1, "ada", 0);
	SAID("");
	CU_ASSERT_EQUAL(t.count, 0);
	ob__bindings_free(&t);
}

static void test_again(void)
{
	begin(10);
	claim(1, 1, 0, "ada", 100, 0);
	SAID("ada:1.1 call 0 ok e100; ");
	claim(2, 1, 0, "ada", 50, 0); /* another keeper's, and older */
	SAID("ada:2.1 call 0 stale e100; fence ada:2.1 e100; ");
	claim(3, 1, 0, "ada", 200, 0);
	SAID("ada:3.1 call 0 ok e200; fence ada:1.1 e200; ");
	claim(3, 1, 0, "ada", 150, 0);
	SAID("ada:3.1 call 0 ok e200; ");
	claim(4, 1, 9, "bob", 0, 0); /* new ones are above all that was heard of */
	SAID("bob:4.1 call 9 ok e201; ");
	/* two keepers gave the same epoch: everybody decides the same */
	claim(1, 5, 0, "cid", 300, 0);
	claim(2, 5, 0, "cid", 300, 0);
	SAID("cid:1.5 call 0 ok e300; cid:2.5 call 0 ok e300; fence cid:1.5 e300; ");
	claim(1, 5, 0, "cid", 300, 0);
	SAID("cid:1.5 call 0 stale e300; fence cid:1.5 e300; ");
	struct ob__who who = {1, 1};
	ob__bindings_claim(&t, &who, 3, "dan", UINT64_MAX, WALL, 0);
	CU_ASSERT_PTR_NULL(ob__bindings_find(&t, "dan"));
	CU_ASSERT_TRUE(t.last_epoch < OB__BINDING_EPOCH_MAX);
	ob__bindings_free(&t);
}

static uint64_t granted;

static void note_granted(void *arg, const struct ob__who *who, const char *user, uint64_t call,
                         int code, uint64_t epoch)
{
	(void)arg;
	(void)who;
	(void)user;
	(void)call;
	CU_ASSERT_EQUAL(code, 0);
	granted = epoch;
}

/* Keepers that are cut off from each other, with the same clock, and having heard of the same. */
static void test_own_epochs(void)
{
	static const struct ob__bindings_ops noting = {note_granted, fence, gone, expired};
	const struct ob__who who = {1, 1};
	const struct ob__who other = {2, 1};
	uint64_t last[2] = {0, 0};
	for (unsigned heard = 0; heard < 2 * STEP; heard += 101) {
		uint64_t epochs[2];
		for (uint64_t k = 0; k < 2; k++) {
			ob__bindings_init(&t, 10, (k + 1) << 54 | 42, &noting, NULL);
			ob__bindings_claim(&t, &who, 0, "ada", (WALL << 16) + heard, WALL, 0);
			ob__bindings_claim(&t, &other, 1, "bob", 0, WALL, 0);
			epochs[k] = granted;
			CU_ASSERT(granted > (WALL << 16) + heard);
			CU_ASSERT(granted <= (WALL << 16) + heard + STEP);
			CU_ASSERT(heard == 0 || granted >= last[k]);
			last[k] = granted;
			ob__bindings_free(&t);
		}
		CU_ASSERT_NOT_EQUAL(epochs[0], epochs[1]);
	}
}

static void test_locks(void)
{
	begin(10);
	claim(1, 1, 1, "ada", 0, 0);
	CU_ASSERT_EQUAL(lock(8, 1, 1, "ada", "save", 1000), 0);
	CU_ASSERT_EQUAL(lock(8, 1, 1, "ada", "save", 9000), 0); /* renewed */
	CU_ASSERT_EQUAL(lock(9, 1, 1, "ada", "save", 9000), 0);
	CU_ASSERT_EQUAL(t.locks, 2);
	CU_ASSERT_TRUE(release(1, 1, "ada", 0)); /* locks stay */
	CU_ASSERT_PTR_NULL(ob__bindings_find(&t, "ada"));
	CU_ASSERT_EQUAL(t.count, 1);
	said[0] = '\0';
	claim(2, 1, 2, "ada", 0, 0);
	SAID("");
	CU_ASSERT_FALSE(unlock(8, 1, 1, "ada", "other", false));
	CU_ASSERT_FALSE(unlock(8, 1, 2, "ada", "save", false));
	CU_ASSERT_TRUE(unlock(8, 1, 1, "ada", "save", false));
	SAID("");
	CU_ASSERT_TRUE(unlock(9, 1, 1, "ada", "save", false));
	SAID("ada:2.1 call 2 ok e1; ");
	/* a session's own lock is not in its way */
	CU_ASSERT_EQUAL(lock(8, 2, 1, "ada", "save", 9000), 0);
	CU_ASSERT_TRUE(release(2, 1, "ada", 0));
	claim(2, 1, 3, "ada", 0, 0);
	SAID("ada:2.1 call 3 ok e2; ");
	ob__bindings_free(&t);
}

static void test_locks_end(void)
{
	begin(10);
	claim(1, 1, 1, "ada", 0, 0);
	(void)lock(8, 1, 1, "ada", "a", 1000);
	(void)lock(9, 1, 1, "ada", "b", 2000);
	(void)lock(8, 1, 1, "ada", "c", 9000);
	CU_ASSERT_TRUE(unlock(8, 1, 1, "ada", "c", true)); /* left to its deadline */
	(void)release(1, 1, "ada", 0);
	claim(2, 1, 2, "ada", 0, 0);
	said[0] = '\0';
	ob__bindings_tick(&t, 10, 999);
	SAID("");
	ob__bindings_tick(&t, 10, 1000);
	SAID("expired ada a; ");
	dead = 9;
	ob__bindings_tick(&t, 10, 1001);
	SAID("");
	CU_ASSERT_EQUAL(t.locks, 1);
	dead = 8; /* that one is nobody's now */
	ob__bindings_tick(&t, 10, 8999);
	SAID("");
	ob__bindings_tick(&t, 10, 9000);
	SAID("expired ada c; ada:2.1 call 2 ok e1; ");
	/* a lock on somebody who is not logged in leaves nothing behind */
	(void)lock(7, 1, 1, "bob", "x", 10000);
	CU_ASSERT_EQUAL(t.count, 2);
	ob__bindings_tick(&t, 10, 10000);
	CU_ASSERT_EQUAL(t.count, 1);
	ob__bindings_free(&t);
}

static void test_bounds(void)
{
	begin(2);
	claim(1, 1, 1, "a", 0, 0);
	claim(1, 2, 2, "b", 0, 0);
	said[0] = '\0';
	claim(1, 3, 3, "c", 0, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "c:1.3 call 3 full"));
	CU_ASSERT_EQUAL(lock(8, 1, 3, "c", "k", 1000), -ENOSPC);
	said[0] = '\0';
	for (int i = 0; i < (int)OB__BINDING_LOCKS; i++) {
		char key[16];
		snprintf(key, sizeof(key), "k%d", i);
		CU_ASSERT_EQUAL(lock(8, 1, 1, "a", key, 1000), 0);
	}
	CU_ASSERT_EQUAL(lock(8, 1, 1, "a", "more", 1000), -ENOSPC);
	CU_ASSERT_EQUAL(t.locks, OB__BINDING_LOCKS);
	/* of too many sessions that are not over the first is not waited for */
	for (uint64_t i = 0; i <= OB__BINDING_OLDS + 1; i++) {
		claim(2, i + 1, 1, "b", 0, 0);
	}
	said[0] = '\0';
	for (uint64_t i = 2; i <= OB__BINDING_OLDS + 1; i++) {
		SAID("");
		(void)release(2, i, "b", 0);
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "ok"));
	ob__bindings_free(&t);
}

static void test_sweep(void)
{
	char user[32];
	begin(100000);
	for (uint64_t i = 0; i < 30000; i++) {
		snprintf(user, sizeof(user), "user-%d", (int)i);
		said[0] = '\0';
		claim(1 + i % 3, i, 1, user, 0, 0);
	}
	CU_ASSERT_EQUAL(t.count, 30000);
	dead = 2;
	int turns = 1;
	uint32_t before = t.count;
	while (ob__bindings_sweep(&t, 500)) {
		CU_ASSERT_TRUE(before - t.count <= 500 + 8);
		before = t.count;
		turns++;
	}
	CU_ASSERT_EQUAL(t.count, 20000);
	CU_ASSERT_TRUE(turns > 30 && turns < 1000);
	CU_ASSERT_TRUE(has("user-0", 1, 0));
	CU_ASSERT_PTR_NULL(ob__bindings_find(&t, "user-1"));
	ob__bindings_free(&t);
}

/* ---- anything in any order ---- */

#define NODES    3u
#define SEQS     3u
#define USERS    3u
#define SESSIONS (NODES * SEQS)

static struct {
	int granted[USERS];              /* session + 1 */
	uint64_t epoch[USERS];           /* of the last grant */
	uint64_t over[USERS][SESSIONS];  /* until then a new claim waits for it; 0: not */
	uint64_t locks[USERS][SESSIONS]; /* until; 0: none */
	uint64_t call[USERS];            /* that waits */
	int caller[USERS];
	uint64_t now;
	bool again;
	unsigned answers;
} model;

static const char *const names[USERS] = {"ada", "bob", "cid"};

static int user_index(const char *user)
{
	return user[0] - 'a';
}

static int session_index(const struct ob__who *who)
{
	return (int)((who->node - 1) * SEQS + who->seq - 1);
}

static void model_answer(void *arg, const struct ob__who *who, const char *user, uint64_t call,
                         int code, uint64_t epoch)
{
	int u = user_index(user);
	int s = session_index(who);
	(void)arg;
	model.answers++;
	if (code != 0) {
		CU_ASSERT_EQUAL(code, -ESTALE);
		CU_ASSERT_TRUE(model.again && model.granted[u] != s + 1);
		return;
	}
	if (model.granted[u] != s + 1) {
		CU_ASSERT_TRUE(epoch > model.epoch[u] || model.again);
		CU_ASSERT_TRUE(model.again || model.granted[u] == 0);
		if (!model.again) { /* nothing was in the way */
			CU_ASSERT_EQUAL(model.call[u], call);
			CU_ASSERT_EQUAL(model.caller[u], s);
			for (int i = 0; i < (int)SESSIONS; i++) {
				CU_ASSERT_TRUE(i == s || model.over[u][i] <= model.now);
				CU_ASSERT_TRUE(i == s || model.locks[u][i] <= model.now);
			}
		}
	}
	model.granted[u] = s + 1;
	model.epoch[u] = epoch;
	model.call[u] = 0;
	memset(model.over[u], 0, sizeof(model.over[u]));
}

static void model_fence(void *arg, const struct ob__who *who, const char *user, uint64_t epoch)
{
	int u = user_index(user);
	int s = session_index(who);
	(void)arg;
	(void)epoch;
	if (model.granted[u] == s + 1) {
		model.granted[u] = 0;
	}
	if (!model.again && who->node != dead) {
		model.over[u][s] = model.now + OB__BINDING_OVER_MS;
	}
}

static bool model_gone(void *arg, uint64_t node, uint64_t seq)
{
	(void)arg;
	(void)seq;
	return node == dead;
}

static void model_expired(void *arg, const char *user, const struct ob__binding_lock *l)
{
	(void)arg;
	CU_ASSERT_TRUE(model.locks[user_index(user)][session_index(&l->who)] <= model.now);
}

static uint32_t random_state;

static uint32_t any(uint32_t n)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % n;
}

static void model_kill(uint64_t node)
{
	dead = node;
	for (unsigned u = 0; u < USERS; u++) {
		for (int s = 0; s < (int)SESSIONS; s++) {
			if (s / (int)SEQS + 1 == (int)node) {
				model.over[u][s] = 0;
				if (model.granted[u] == s + 1) {
					model.granted[u] = 0;
				}
				if (model.caller[u] == s) {
					model.call[u] = 0;
				}
			}
		}
	}
	while (ob__bindings_sweep(&t, 3)) {
	}
}

static void model_claim(unsigned u, int s, const struct ob__who *who, uint64_t call, bool again)
{
	model.again = again;
	if (again) {
		uint64_t epoch = (t.last_epoch != 0 ? t.last_epoch : WALL << 16) + any(5) - any(5);
		bool waits = model.call[u] != 0;
		ob__bindings_claim(&t, who, call, names[u], epoch, WALL, model.now);
		model.call[u] = waits && t.pending == 0 ? 0 : model.call[u];
	} else {
		if (model.granted[u] != s + 1) {
			model.call[u] = call;
			model.caller[u] = s;
		}
		ob__bindings_claim(&t, who, call, names[u], 0, WALL + model.now, model.now);
	}
	model.again = false;
}

static void model_step(uint64_t call)
{
	unsigned u = any(USERS);
	struct ob__who who = {1 + any(NODES), 1 + any(SEQS)};
	int s = session_index(&who);
	switch (any(12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (who.node != dead) {
			model_claim(u, s, &who, call, false);
		}
		return;
	case 4:
		/* only one whose claim was granted is claimed again */
		if (who.node != dead && model.call[u] == 0) {
			model_claim(u, s, &who, call, true);
		}
		return;
	case 5:
	case 6:
		model.over[u][s] = 0;
		model.granted[u] = model.granted[u] == s + 1 ? 0 : model.granted[u];
		model.call[u] = model.call[u] != 0 && model.caller[u] == s ? 0 : model.call[u];
		(void)ob__bindings_release(&t, &who, names[u], 0);
		return;
	case 7:
		model.locks[u][s] = model.now + 1 + any(900);
		CU_ASSERT_EQUAL(lock(9, who.node, who.seq, names[u], "k", model.locks[u][s]), 0);
		return;
	case 8:
		model.locks[u][s] = 0;
		(void)unlock(9, who.node, who.seq, names[u], "k", false);
		return;
	case 9:
		model_kill(any(4) == 0 ? 1 + any(NODES) : 0);
		return;
	default:
		model.now += any(1000);
		ob__bindings_tick(&t, 1 + any(3), model.now);
	}
}

static void test_model(void)
{
	static const struct ob__bindings_ops model_ops = {model_answer, model_fence, model_gone,
	                                                  model_expired};
	unsigned answers = 0;
	unsigned failures = CU_get_number_of_failures();
	for (uint32_t seed = 1; seed <= 200; seed++) {
		random_state = seed;
		dead = 0;
		memset(&model, 0, sizeof(model));
		model.now = 1000000;
		ob__bindings_init(&t, 100, seed, &model_ops, NULL);
		for (uint64_t call = 1; call <= 500; call++) {
			model_step(call);
			for (unsigned u = 0; u < USERS; u++) {
				const struct ob__binding *b = ob__bindings_find(&t, names[u]);
				int found = b != NULL ? session_index(&b->who) + 1 : 0;
				CU_ASSERT_EQUAL(found, model.granted[u]);
			}
			if (CU_get_number_of_failures() > failures) {
				fprintf(stderr, "# seed %u, step %d\n", (unsigned)seed, (int)call);
				ob__bindings_free(&t);
				return;
			}
		}
		/* whatever waits gets its answer in the end, and nothing is left */
		model.now += OB__BINDING_LOCK_MS + OB__BINDING_OVER_MS;
		ob__bindings_tick(&t, 100, model.now);
		CU_ASSERT_EQUAL(t.pending, 0);
		CU_ASSERT_EQUAL(t.locks, 0);
		for (unsigned i = 0; i < USERS * SESSIONS; i++) {
			struct ob__who who = {1 + i % NODES, 1 + i / NODES % SEQS};
			(void)ob__bindings_release(&t, &who, names[i / SESSIONS], 0);
		}
		CU_ASSERT_EQUAL(t.count, 0);
		CU_ASSERT_TRUE(ob__list_empty(&t.waits));
		answers += model.answers;
		ob__bindings_free(&t);
	}
	CU_ASSERT_TRUE(answers > 200 * 20); /* it did something */
}

static void set_home(uint64_t node, uint64_t seq, const char *user, uint64_t home)
{
	struct ob__who who = {node, seq};
	struct ob__home_msg m = {.homes = {{.role = 7, .node = home}}, .len = 1};
	snprintf(m.user.user, sizeof(m.user.user), "%s", user);
	ob__bindings_set_homes(&t, &who, &m);
}

static uint64_t home_of(const char *user)
{
	struct ob__home homes[OB__HOMES_MAX];
	return ob__bindings_homes(&t, user, homes) == 1 ? homes[0].node : 0;
}

/* Where a user was served outlives his session by home_ms, and gives way to users who are there. */
static void test_homes(void)
{
	begin(2);
	t.home_ms = 1000;
	claim(1, 1, 1, "ada", 0, 0);
	set_home(9, 9, "ada", 66); /* not the session's */
	CU_ASSERT_EQUAL(home_of("ada"), 0);
	set_home(1, 1, "ada", 55);
	set_home(1, 1, "ada", 56);
	CU_ASSERT_EQUAL(home_of("ada"), 56);
	ob__bindings_tick(&t, 10, 5000); /* while he is there it does not end */
	CU_ASSERT_TRUE(release(1, 1, "ada", 0));
	CU_ASSERT_EQUAL(t.count, 1);
	CU_ASSERT_FALSE(has("ada", 1, 1));
	ob__bindings_tick(&t, 10, 5999);
	CU_ASSERT_EQUAL(home_of("ada"), 56);
	claim(2, 2, 2, "ada", 0, 5999); /* back in time: the clock stops */
	ob__bindings_tick(&t, 10, 9000);
	CU_ASSERT_EQUAL(home_of("ada"), 56);
	CU_ASSERT_TRUE(release(2, 2, "ada", 0));
	ob__bindings_tick(&t, 10, 9999);
	CU_ASSERT_EQUAL(home_of("ada"), 56);
	ob__bindings_tick(&t, 10, 10000);
	CU_ASSERT_EQUAL(home_of("ada"), 0);
	CU_ASSERT_EQUAL(t.count, 0);

	/* two who have left fill the table: the first of them goes when somebody comes */
	claim(1, 3, 3, "ada", 0, 10000);
	set_home(1, 3, "ada", 57);
	claim(1, 4, 4, "bob", 0, 10000);
	set_home(1, 4, "bob", 58);
	CU_ASSERT_TRUE(release(1, 4, "bob", 0));
	CU_ASSERT_TRUE(release(1, 3, "ada", 0));
	CU_ASSERT_EQUAL(t.count, 2);
	claim(1, 5, 5, "cid", 0, 10000);
	CU_ASSERT_TRUE(has("cid", 1, 5));
	CU_ASSERT_EQUAL(home_of("bob"), 0);
	CU_ASSERT_EQUAL(home_of("ada"), 57);
	claim(1, 6, 6, "bob", 0, 10000);
	CU_ASSERT_TRUE(has("bob", 1, 6));
	CU_ASSERT_EQUAL(home_of("ada"), 0);

	/* no time at all */
	t.home_ms = 0;
	set_home(1, 6, "bob", 59);
	CU_ASSERT_TRUE(release(1, 6, "bob", 0));
	CU_ASSERT_EQUAL(t.count, 1);

	/* a lock holds the entry, not what is remembered */
	t.home_ms = 10;
	set_home(1, 5, "cid", 60);
	CU_ASSERT_EQUAL(lock(3, 1, 5, "cid", "k", 99999), 0);
	CU_ASSERT_TRUE(release(1, 5, "cid", 0));
	ob__bindings_tick(&t, 10, 11000);
	CU_ASSERT_EQUAL(home_of("cid"), 0);
	CU_ASSERT_EQUAL(t.count, 1);
	CU_ASSERT_TRUE(unlock(3, 1, 5, "cid", "k", false));
	CU_ASSERT_EQUAL(t.count, 0);
	ob__bindings_free(&t);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("binding", NULL, NULL);
	CU_add_test(s, "claims and releases", test_claims);
	CU_add_test(s, "a new session waits for the former one's end", test_replaced);
	CU_add_test(s, "but not for ever, nor for one that is gone", test_replaced_by_time);
	CU_add_test(s, "claims that wait", test_claims_waiting);
	CU_add_test(s, "claims that are made again", test_again);
	CU_add_test(s, "each keeper has epochs of its own", test_own_epochs);
	CU_add_test(s, "locks", test_locks);
	CU_add_test(s, "how locks end", test_locks_end);
	CU_add_test(s, "bounds", test_bounds);
	CU_add_test(s, "nodes that are gone", test_sweep);
	CU_add_test(s, "anything in any order", test_model);
	CU_add_test(s, "where users are served", test_homes);
	return ob__tap_run();
}
