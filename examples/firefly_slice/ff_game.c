/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example firefly_slice, the game: 103 enters, 602 moves, 603 scores, 604 looks; and what firefly's
 * netconnlost was for: a character is saved when its player has gone, and nobody plays it
 * meanwhile.
 *
 * A character in play is bytes in the host's key-value store, so this code can be replaced under
 * the players.  It is saved every few seconds if it has changed, and when its session ends.  From
 * the moment it is loaded until it is saved for the last time its user is locked: a next login
 * waits.  If saving fails, the character stays, locked, and is tried again until it works.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "store.h"

#define ENTER 103
#define MOVE  602
#define SCORE 603
#define LOOK  604

#define VERSION      1
#define ROLE_OF      "user.gate.account.role"
#define CALL_MS      3000
#define LOCK         "character"
#define LOCK_MS      30000
#define LOCK_AGAIN   10000
#define SWEEP_MS     100
#define SAVE_DEFAULT 5.0
#define RETRY_MIN    200
#define RETRY_MAX    10000
#define FAR          1000000

/* What the key-value store has under the user's name.  A later version adds at its end: what an
 * earlier one has written is zero there. */
struct character {
	uint32_t version;
	uint32_t failed; /* saves, one after the other */
	ob_session session;
	json_int_t user_id;
	json_int_t character_id;
	json_int_t score;
	uint64_t changes;
	uint64_t saved;  /* so many of them */
	uint64_t due;    /* when it is saved next, ms */
	uint64_t locked; /* when it was, ms */
	int32_t x;
	int32_t y;
	uint8_t loading;
	uint8_t saving;
	uint8_t leaving;
	char user[STORE_NAME_MAX + 1];
	char name[STORE_NAME_MAX + 1];
};

/* Work for a pool thread: the character as it was when that began. */
struct job {
	struct character c;
	ob_req req; /* of entering; 0: it is being saved */
	int rc;
	json_t *loaded;
};

static char *folder;
static uint64_t save_ms;
static int saves;
static int failures;

/* ---------------------------------------------------------------- characters in play ------- */

static bool get(ob_ctx *ctx, const char *user, struct character *c)
{
	size_t len = 0;
	const void *kept = user && *user ? ob_kv_get(ctx, user, &len) : NULL;

	memset(c, 0, sizeof(*c));
	if (!kept) {
		return false;
	}
	memcpy(c, kept, len < sizeof(*c) ? len : sizeof(*c));
	return true;
}

static int put(ob_ctx *ctx, const struct character *c)
{
	return ob_kv_set(ctx, c->user, c, sizeof(*c));
}

static void drop(ob_ctx *ctx, const struct character *c)
{
	ob_session_unlock(ctx, c->session, LOCK, 0);
	ob_kv_del(ctx, c->user);
}

static bool dirty(const struct character *c)
{
	return c->changes != c->saved;
}

/* ---------------------------------------------------------------- saving ------------------- */

static void save_work(void *arg)
{
	struct job *job = arg;
	const struct character *c = &job->c;
	char id[STORE_NAME_MAX];
	json_t *value = json_pack("{s:I, s:s, s:s, s:i, s:i, s:I}", "characterId", c->character_id,
	                          "user", c->user, "name", c->name, "x", (int)c->x, "y", (int)c->y,
	                          "score", c->score);

	snprintf(id, sizeof(id), "%lld", (long long)c->character_id);
	job->rc = value ? store_write(folder, "characters", id, value) : OB_E_NOMEM;
	json_decref(value);
}

static uint64_t retry_after(uint32_t failed)
{
	uint64_t ms = RETRY_MIN;

	while (--failed > 0 && ms < RETRY_MAX) {
		ms *= 2;
	}
	return ms < RETRY_MAX ? ms : RETRY_MAX;
}

static void save_failed(ob_ctx *ctx, struct character *c, int rc)
{
	ob_count(ctx, failures, 1);
	if (c->failed++ % 16 == 0) {
		ob_log(ctx, OB_LOG_WARNING, "character %lld can't be saved (%s), try %u",
		       (long long)c->character_id, ob_strerror(ctx, rc), c->failed);
	}
	c->due = ob_now_ms(ctx) + retry_after(c->failed);
}

static void saved(ob_ctx *ctx, void *arg)
{
	struct job *job = arg;
	struct character c;
	bool there = get(ctx, job->c.user, &c);

	if (there) {
		c.saving = 0;
		if (job->rc == 0) {
			ob_count(ctx, saves, 1);
			c.saved = job->c.changes;
			c.failed = 0;
			c.due = c.leaving ? 0 : ob_now_ms(ctx) + save_ms;
		} else {
			save_failed(ctx, &c, job->rc);
		}
		if (c.leaving && !dirty(&c)) {
			drop(ctx, &c);
		} else {
			put(ctx, &c);
		}
	}
	free(job);
}

/* Puts it back as well. */
static void save(ob_ctx *ctx, struct character *c)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job) {
		job->c = *c;
	}
	if (!job || ob_job(ctx, save_work, saved, job) < 0) {
		free(job);
		save_failed(ctx, c, OB_E_BUSY);
	} else {
		c->saving = 1;
	}
	put(ctx, c);
}

/* Its player has gone: the last save, then nobody plays it. */
static void leave(ob_ctx *ctx, struct character *c, uint64_t now)
{
	c->leaving = 1;
	c->due = 0;
	c->locked = now;
	ob_session_lock(ctx, c->session, LOCK, LOCK_MS);
	put(ctx, c);
}

static void look_after(ob_ctx *ctx, struct character *c, uint64_t now)
{
	ob_session_info session = {.size = sizeof(session)};

	if (!c->leaving && ob_session_get(ctx, c->session, &session) < 0) {
		leave(ctx, c, now); /* no event has told of its end */
	}
	if (now - c->locked >= LOCK_AGAIN) {
		c->locked = now;
		if (ob_session_lock(ctx, c->session, LOCK, LOCK_MS) < 0) {
			ob_log(ctx, OB_LOG_WARNING, "character %lld is not locked",
			       (long long)c->character_id);
		}
		put(ctx, c);
	}
	if (c->loading || c->saving) {
		return;
	}
	if (dirty(c) && now >= c->due) {
		save(ctx, c);
	} else if (c->leaving && !dirty(c)) {
		drop(ctx, c);
	}
}

static void sweep(ob_ctx *ctx, ob_timer timer, void *arg)
{
	uint64_t now = ob_now_ms(ctx);
	char user[STORE_NAME_MAX + 1];
	struct character c;

	(void)timer;
	(void)arg;
	for (const char *key = ob_kv_next(ctx, NULL); key; key = ob_kv_next(ctx, user)) {
		snprintf(user, sizeof(user), "%s", key);
		if (get(ctx, user, &c)) {
			look_after(ctx, &c, now);
		}
	}
}

/* ---------------------------------------------------------------- coming and going --------- */

static void fail(ob_ctx *ctx, ob_req req, const char *why)
{
	ob_reply_json(ctx, req, "{s:b, s:s}", "result", 0, "message", why);
}

static void show(ob_ctx *ctx, ob_req req, const struct character *c)
{
	ob_reply_json(ctx, req, "{s:{s:I, s:s, s:i, s:i, s:I}, s:b}", "data", "characterId",
	              c->character_id, "name", c->name, "x", (int)c->x, "y", (int)c->y, "score",
	              c->score, "result", 1);
}

static void load_work(void *arg)
{
	struct job *job = arg;
	char id[STORE_NAME_MAX];

	snprintf(id, sizeof(id), "%lld", (long long)job->c.character_id);
	job->loaded = store_read(folder, "characters", id, &job->rc);
}

static void loaded(ob_ctx *ctx, void *arg)
{
	struct job *job = arg;
	struct character c;

	if (!get(ctx, job->c.user, &c)) {
		fail(ctx, job->req, "gone");
	} else if (job->rc < 0 || c.leaving) {
		drop(ctx, &c);
		fail(ctx, job->req, job->rc < 0 ? "the character can't be loaded now" : "gone");
	} else {
		c.loading = 0;
		c.x = (int32_t)json_integer_value(json_object_get(job->loaded, "x"));
		c.y = (int32_t)json_integer_value(json_object_get(job->loaded, "y"));
		c.score = json_integer_value(json_object_get(job->loaded, "score"));
		c.changes = job->loaded ? 0 : 1; /* a new one is to be saved */
		put(ctx, &c);
		show(ctx, job->req, &c);
	}
	json_decref(job->loaded);
	free(job);
}

/* The gate's answer. */
static bool read_role(const ob_call_result *res, struct character *c, const char **why)
{
	static char text[128]; /* as long as it is needed */
	json_t *body =
		res->code == OB_OK ? json_loadb((const char *)res->data, res->len, 0, NULL) : NULL;
	const char *message = json_string_value(json_object_get(body, "message"));
	const char *name =
		json_string_value(json_object_get(json_object_get(body, "role"), "name"));
	bool good = store_name_ok(name);

	if (good) {
		snprintf(c->name, sizeof(c->name), "%s", name);
		c->user_id = json_integer_value(json_object_get(body, "userId"));
		c->character_id = json_integer_value(json_object_get(body, "characterId"));
	} else {
		snprintf(text, sizeof(text), "%s", message ? message : "the gate does not answer");
		*why = text;
	}
	json_decref(body);
	return good;
}

/* Now it is known which character it is. */
static void role_told(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	struct job *job = arg;
	const char *why = "not now";
	struct character c;

	(void)call;
	bool there = get(ctx, job->c.user, &c);
	if (there && read_role(res, &c, &why) && put(ctx, &c) == 0) {
		job->c = c;
		if (ob_job(ctx, load_work, loaded, job) == 0) {
			return;
		}
		why = "not now";
	}
	if (there) {
		drop(ctx, &c);
	}
	fail(ctx, job->req, why);
	free(job);
}

static void ask_gate(ob_ctx *ctx, ob_req req, const struct character *c)
{
	ob_target gate = {.role = ob_role(ctx, "route")};
	struct job *job = calloc(1, sizeof(*job));
	char body[STORE_NAME_MAX + 16];
	int n = snprintf(body, sizeof(body), "{\"user\":\"%s\"}", c->user);

	if (job) {
		job->c = *c;
		job->req = req;
	}
	if (!job || put(ctx, c) < 0 || ob_request_hold(ctx, req) < 0 ||
	    !ob_call_method(ctx, &gate, ROLE_OF, 0, body, (size_t)n, CALL_MS, role_told, job)) {
		free(job);
		drop(ctx, c);
		fail(ctx, req, "not now");
	}
}

static void enter(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	ob_session_info session = {.size = sizeof(session)};
	struct character c;

	if (ob_req_view(ctx, req, &view) < 0 || ob_session_get(ctx, view.session, &session) < 0 ||
	    !store_name_ok(session.user)) {
		fail(ctx, req, "log in first");
		return;
	}
	if (get(ctx, session.user, &c)) {
		if (c.session == view.session && !c.loading && !c.leaving) {
			show(ctx, req, &c);
		} else {
			fail(ctx, req, "the character is in play");
		}
		return;
	}
	c.version = VERSION;
	c.session = view.session;
	c.loading = 1;
	c.locked = ob_now_ms(ctx);
	snprintf(c.user, sizeof(c.user), "%s", session.user);
	if (ob_session_lock(ctx, c.session, LOCK, LOCK_MS) < 0) {
		fail(ctx, req, "log in first");
		return;
	}
	ask_gate(ctx, req, &c);
}

/* A session has ended.  Who its user is may have changed since he entered. */
static void left(ob_ctx *ctx, const ob_event_info *info)
{
	uint64_t now = ob_now_ms(ctx);
	char user[STORE_NAME_MAX + 1];
	struct character c;

	for (const char *key = ob_kv_next(ctx, NULL); key; key = ob_kv_next(ctx, user)) {
		snprintf(user, sizeof(user), "%s", key);
		if (get(ctx, user, &c) && c.session == info->session && !c.leaving) {
			leave(ctx, &c, now);
			look_after(ctx, &c, now);
		}
	}
}

/* ---------------------------------------------------------------- playing ------------------ */

/* The character of the client that asks; false: it has been answered. */
static bool player(ob_ctx *ctx, ob_req req, struct character *c)
{
	ob_view view = {.size = sizeof(view)};
	ob_session_info session = {.size = sizeof(session)};

	if (ob_req_view(ctx, req, &view) < 0 || ob_session_get(ctx, view.session, &session) < 0 ||
	    !get(ctx, session.user, c) || c->session != view.session || c->loading || c->leaving) {
		fail(ctx, req, "enter first");
		return false;
	}
	return true;
}

static void changed(ob_ctx *ctx, ob_req req, struct character *c)
{
	if (!dirty(c)) {
		c->due = ob_now_ms(ctx) + save_ms;
	}
	c->changes++;
	if (put(ctx, c) < 0) {
		fail(ctx, req, "no room");
		return;
	}
	show(ctx, req, c);
}

static void move(ob_ctx *ctx, ob_req req)
{
	struct character c;

	if (!player(ctx, req, &c)) {
		return;
	}
	json_int_t x = ob_req_int(ctx, req, "x", FAR + 1);
	json_int_t y = ob_req_int(ctx, req, "y", FAR + 1);
	if (x < -FAR || x > FAR || y < -FAR || y > FAR) {
		fail(ctx, req, "there is nothing");
		return;
	}
	c.x = (int32_t)x;
	c.y = (int32_t)y;
	changed(ctx, req, &c);
}

static void score(ob_ctx *ctx, ob_req req)
{
	struct character c;

	if (!player(ctx, req, &c)) {
		return;
	}
	json_int_t points = ob_req_int(ctx, req, "points", 0);
	if (points < 1 || points > 1000 || c.score > INT64_MAX - points) {
		fail(ctx, req, "points: 1 to 1000");
		return;
	}
	c.score += points;
	changed(ctx, req, &c);
}

static void look(ob_ctx *ctx, ob_req req)
{
	struct character c;

	if (player(ctx, req, &c)) {
		show(ctx, req, &c);
	}
}

/* ---------------------------------------------------------------- life --------------------- */

static int check(const json_t *conf, ob_err *err)
{
	const char *path = json_string_value(json_object_get(conf, "data"));
	const json_t *every = json_object_get(conf, "save_every");
	double seconds = every ? json_number_value(every) : SAVE_DEFAULT;

	if (!path || *path != '/' || strlen(path) >= 2048) {
		return ob_err_set(err, "data: must be a folder's whole path");
	}
	return seconds > 0 && seconds <= 3600
	               ? 0
	               : ob_err_set(err, "save_every: must be a number of seconds, up to 3600");
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	free(folder);
	folder = NULL;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const struct {
		uint32_t id;
		ob_handler_fn fn;
	} handlers[] = {{ENTER, enter}, {MOVE, move}, {SCORE, score}, {LOOK, look}};
	const json_t *every = json_object_get(conf, "save_every");

	save_ms = (uint64_t)((every ? json_number_value(every) : SAVE_DEFAULT) * 1000);
	folder = strdup(json_string_value(json_object_get(conf, "data")));
	saves = ob_counter(ctx, "characters_saved", "Characters saved");
	failures = ob_counter(ctx, "characters_not_saved", "Saves that failed");
	int rc = !folder ? OB_E_NOMEM : saves < 0 ? saves : failures < 0 ? failures : 0;
	for (size_t i = 0; rc == 0 && i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		rc = ob_on_id_flags(ctx, handlers[i].id, handlers[i].fn, OB_FROM_LINK);
	}
	rc = rc < 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, left);
	rc = rc < 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_LOST, left);
	if (rc < 0) {
		stop(ctx);
	}
	return rc;
}

static void serve(ob_ctx *ctx)
{
	ob_timer_start(ctx, SWEEP_MS, SWEEP_MS, sweep, NULL);
}

/* Another generation takes over, or the node stops: what has changed is saved now. */
static void drain(ob_ctx *ctx)
{
	char user[STORE_NAME_MAX + 1];
	struct character c;

	for (const char *key = ob_kv_next(ctx, NULL); key; key = ob_kv_next(ctx, user)) {
		snprintf(user, sizeof(user), "%s", key);
		if (get(ctx, user, &c) && dirty(&c) && !c.saving && !c.loading) {
			save(ctx, &c);
		}
	}
}

OB_MODULE(ff_game, .version = "1.0.0", .check = check, .start = start, .live = serve,
          .resume = serve, .drain = drain, .stop = stop);
