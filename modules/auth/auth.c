/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module auth: on a proxy, only clients that have logged in may send anything but the login.
 *
 * A login brings a token that somebody else has made: one of the module's own kind with an HMAC
 * (token.h), or a JSON Web Token (webtoken.h).  Who does not log in within the deadline, or tries
 * too often, is closed.  How far a session has come is an attribute of it, and who is waited for
 * stands in host memory, so that the module can be replaced, with other keys, at any time.
 */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <obhost/obhost.h>

#include "settings.h"
#include "token.h"
#include "webtoken.h"

#define FILTER_PRIORITY (-1000)
#define BODY_MORE       1024u /* bytes of a login besides its token */
#define CLOSE_LATE      4401
#define CLOSE_ATTEMPTS  4403
#define CLOSE_FULL      1013
#define SWEEP_MS        100

#define WAITING_MAX     131072u /* a power of 2 */
#define WAITING_VERSION 1

enum stage { STAGE_NEW = 0, STAGE_BUSY, STAGE_IN };

/* The session's attribute. */
struct mark {
	uint8_t version; /* 1 */
	uint8_t stage;
	uint16_t failed; /* logins */
};

/* Who has come and not logged in, in the order of coming; host memory. */
struct waiting {
	uint64_t head; /* of all who ever came */
	uint64_t tail;
	struct {
		ob_session session;
		uint64_t since; /* ms */
	} who[WAITING_MAX];
};

/* A login whose user is being bound. */
struct login {
	ob_req req;
	ob_session session;
	json_t *claims; /* or NULL */
	int64_t expiry;
	bool again; /* it had logged in before */
	char user[TOKEN_USER_MAX + 1];
};

/* What a token has come to, besides its verdict. */
struct who {
	const char *user;
	size_t user_len;
	int64_t expiry;
	json_t *claims; /* owned, or NULL */
};

static struct settings settings;
static uint32_t login_id;
static struct waiting *waiting;
static int count_in;
static int count_early;
static int count_late;
static int count_attempts;
static int count_failed;
static int count_full;
static int count_refused[TOKEN_VERDICTS];

/* ---------------------------------------------------------------- sessions ----------------- */

static struct mark mark_of(ob_ctx *ctx, ob_session session, bool *known)
{
	struct mark mark = {1, STAGE_NEW, 0};
	size_t len = 0;
	const void *value = ob_session_attr(ctx, session, AUTH_ATTR, &len);

	*known = value && len == sizeof(mark);
	if (*known) {
		memcpy(&mark, value, sizeof(mark));
	}
	return mark;
}

static int set_mark(ob_ctx *ctx, ob_session session, struct mark mark)
{
	return ob_session_set(ctx, session, AUTH_ATTR, &mark, sizeof(mark));
}

/* Nobody waits for it any more: it has logged in, or has gone. */
static bool settled(ob_ctx *ctx, ob_session session)
{
	ob_session_info info = {.size = offsetof(ob_session_info, peer)};
	bool known;

	return ob_session_get(ctx, session, &info) < 0 ||
	       mark_of(ctx, session, &known).stage == STAGE_IN;
}

static void await_login(ob_ctx *ctx, ob_session session)
{
	struct waiting *w = waiting;
	bool known;
	struct mark mark = mark_of(ctx, session, &known);

	mark.stage = STAGE_NEW;
	set_mark(ctx, session, mark);
	if (settings.deadline_ms == 0) {
		return;
	}
	while (w->head < w->tail && settled(ctx, w->who[w->head % WAITING_MAX].session)) {
		w->head++;
	}
	if (w->tail - w->head == WAITING_MAX) {
		ob_count(ctx, count_full, 1);
		ob_session_close(ctx, session, CLOSE_FULL,
		                 "too many clients that have not logged in");
		return;
	}
	w->who[w->tail % WAITING_MAX].session = session;
	w->who[w->tail % WAITING_MAX].since = ob_now_ms(ctx);
	w->tail++;
}

static void sweep(ob_ctx *ctx, ob_timer timer, void *arg)
{
	struct waiting *w = waiting;
	uint64_t now = ob_now_ms(ctx);

	(void)timer;
	(void)arg;
	for (; w->head < w->tail; w->head++) {
		ob_session session = w->who[w->head % WAITING_MAX].session;

		if (settled(ctx, session)) {
			continue;
		}
		if (settings.deadline_ms != 0 &&
		    now - w->who[w->head % WAITING_MAX].since < settings.deadline_ms) {
			return;
		}
		if (settings.deadline_ms != 0) {
			ob_count(ctx, count_late, 1);
			ob_session_close(ctx, session, CLOSE_LATE, "no login in time");
		}
	}
}

/* Who comes back through this proxy has brought the mark along, with the user. */
static void opened(ob_ctx *ctx, const ob_event_info *info)
{
	bool known;

	if (mark_of(ctx, info->session, &known).stage != STAGE_IN) {
		await_login(ctx, info->session);
	}
}

static bool is_open(uint32_t id)
{
	for (size_t i = 0; i < settings.open_count; i++) {
		if (id >= settings.open[i].lo && id <= settings.open[i].hi) {
			return true;
		}
	}
	return false;
}

static int admit(ob_ctx *ctx, const ob_view *view)
{
	bool known;
	struct mark mark = mark_of(ctx, view->session, &known);

	if (mark.stage == STAGE_IN) {
		return 0;
	}
	if (!known) { /* it was there before the module */
		await_login(ctx, view->session);
	}
	if (view->id == login_id || is_open(view->id)) {
		return 0;
	}
	ob_count(ctx, count_early, 1);
	return OB_E_DENIED;
}

/* ---------------------------------------------------------------- tokens ------------------- */

static enum verdict check_hmac(const char *text, size_t len, int64_t now, struct who *who)
{
	struct token token;
	enum verdict verdict = token_parse(text, len, &token);
	bool good = false;

	if (verdict != TOKEN_GOOD) {
		return verdict;
	}
	for (size_t i = 0; i < settings.hmac_count && !good; i++) {
		good = token_signed(&token, settings.hmac[i].data, settings.hmac[i].len);
	}
	if (!good) {
		return TOKEN_SIGNATURE;
	}
	who->user = token.user;
	who->user_len = token.user_len;
	who->expiry = token.expiry;
	return token_in_time(token.expiry, now, settings.skew) ? TOKEN_GOOD : TOKEN_EXPIRED;
}

/* A claim as an attribute: texts as they are, anything else as JSON.  To be freed; NULL: none. */
static char *claim_text(const json_t *value, size_t *len)
{
	char *text = json_is_string(value) ? strdup(json_string_value(value))
	                                   : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	*len = text ? strlen(text) : 0;
	return text;
}

static bool claims_fit(const json_t *claims)
{
	for (size_t i = 0; i < settings.claim_count; i++) {
		const json_t *value = json_object_get(claims, settings.claims[i].name);
		size_t len = 0;

		if (value && !json_is_null(value)) {
			free(claim_text(value, &len));
		}
		if (len > OB_ATTR_MAX) {
			return false;
		}
	}
	return true;
}

static enum verdict check_jwt(const char *text, int64_t now, struct who *who)
{
	if (settings.jwt.key_count == 0) {
		return TOKEN_ALGORITHM;
	}
	enum verdict verdict = webtoken_check(&settings.jwt, text, now, settings.skew, &who->claims,
	                                      &who->user, &who->expiry);
	if (verdict != TOKEN_GOOD) {
		return verdict;
	}
	who->user_len = strlen(who->user);
	return claims_fit(who->claims) ? TOKEN_GOOD : TOKEN_CLAIM;
}

static enum verdict check_token(const json_t *value, struct who *who)
{
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);
	int64_t now = (int64_t)time(NULL);

	*who = (struct who){0};
	if (!text || len == 0 || strlen(text) != len) {
		return TOKEN_MALFORMED;
	}
	if (len > settings.max_token) {
		return TOKEN_TOO_BIG;
	}
	if (settings.hmac_count > 0 && (strchr(text, '|') || settings.jwt.key_count == 0)) {
		return check_hmac(text, len, now, who);
	}
	return check_jwt(text, now, who);
}

/* ---------------------------------------------------------------- logins ------------------- */

static void refuse(ob_ctx *ctx, ob_req req, ob_session session, enum verdict verdict)
{
	bool known;
	struct mark mark = mark_of(ctx, session, &known);

	ob_count(ctx, count_refused[verdict], 1);
	ob_fail(ctx, req, verdict == TOKEN_TOO_BIG ? OB_E_TOO_BIG : OB_E_DENIED,
	        token_word(verdict));
	mark.failed += mark.failed < UINT16_MAX;
	set_mark(ctx, session, mark);
	if (settings.attempts != 0 && mark.failed >= settings.attempts) {
		ob_count(ctx, count_attempts, 1);
		ob_session_close(ctx, session, CLOSE_ATTEMPTS, "too many logins that failed");
	}
}

static void set_claims(ob_ctx *ctx, ob_session session, const json_t *claims)
{
	for (size_t i = 0; i < settings.claim_count; i++) {
		const json_t *value = json_object_get(claims, settings.claims[i].name);
		size_t len = 0;
		char *text = value && !json_is_null(value) ? claim_text(value, &len) : NULL;
		int rc = ob_session_set(ctx, session, settings.claims[i].attr, text ? text : "",
		                        len);

		if (rc == OB_E_LIMIT || rc == OB_E_NOMEM) {
			ob_log(ctx, OB_LOG_WARNING, "the claim %s is lost: %s",
			       settings.claims[i].name, ob_strerror(ctx, rc));
		}
		free(text);
	}
}

/* A good token on a session that has logged in before begins anew: it may be another user's. */
static void finish(ob_ctx *ctx, struct login *login, int code, const char *why)
{
	struct mark mark = {1, code == OB_OK ? STAGE_IN : STAGE_NEW, 0};

	if (code != OB_OK) {
		ob_count(ctx, count_failed, 1);
		set_mark(ctx, login->session, mark);
		if (login->again) {
			await_login(ctx, login->session);
		}
		ob_fail(ctx, login->req, code, why);
	} else if (set_mark(ctx, login->session, mark) < 0) {
		ob_count(ctx, count_failed, 1);
		ob_fail(ctx, login->req, OB_E_BUSY, "the session has no room for the login");
	} else {
		ob_count(ctx, count_in, 1);
		set_claims(ctx, login->session, login->claims);
		ob_reply_json(ctx, login->req, "{s:i, s:{s:s, s:I}}", "code", 200, "data", "user",
		              login->user, "expires", (json_int_t)login->expiry);
	}
	json_decref(login->claims);
	free(login);
}

static void bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	finish(ctx, arg, res->code, res->text);
}

/* Takes who->claims. */
static void log_in(ob_ctx *ctx, ob_req req, ob_session session, enum stage stage, struct who *who)
{
	struct login *login = calloc(1, sizeof(*login));

	if (!login) {
		json_decref(who->claims);
		ob_fail(ctx, req, OB_E_BUSY, "out of memory");
		return;
	}
	login->req = req;
	login->session = session;
	login->claims = who->claims;
	login->expiry = who->expiry;
	login->again = stage == STAGE_IN;
	memcpy(login->user, who->user, who->user_len);
	if (!settings.bind) {
		finish(ctx, login, OB_OK, "");
		return;
	}
	set_mark(ctx, session, (struct mark){1, STAGE_BUSY, 0});
	int rc = ob_request_hold(ctx, req);
	rc = rc == 0 ? ob_session_bind(ctx, session, login->user, bound, login) : rc;
	if (rc != 0) {
		finish(ctx, login, OB_E_BUSY, "the user can't be bound now");
	}
}

static void on_login(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	struct who who;
	bool known;

	if (ob_req_view(ctx, req, &view) < 0) {
		return;
	}
	enum stage stage = mark_of(ctx, view.session, &known).stage;
	if (stage == STAGE_BUSY) {
		ob_fail(ctx, req, OB_E_BUSY, "a login of this session is under way");
		return;
	}
	if (view.len > settings.max_token + BODY_MORE) {
		refuse(ctx, req, view.session, TOKEN_TOO_BIG);
		return;
	}
	const json_t *body = ob_req_json(ctx, req);
	enum verdict verdict = check_token(json_object_get(body, settings.field), &who);
	if (verdict == TOKEN_GOOD) {
		log_in(ctx, req, view.session, stage, &who);
	} else {
		json_decref(who.claims);
		refuse(ctx, req, view.session, verdict);
	}
}

/* ---------------------------------------------------------------- life --------------------- */

static int check(const json_t *conf, ob_err *err)
{
	struct settings s;
	int rc = settings_read(&s, conf, err);

	settings_free(&s);
	return rc;
}

static int add_counters(ob_ctx *ctx)
{
	static const struct {
		int *counter;
		const char *name;
		const char *help;
	} all[] = {
		{&count_in, "auth_logins", "Logins that went well"},
		{&count_early, "auth_early", "Messages before the login"},
		{&count_late, "auth_late", "Clients that did not log in in time"},
		{&count_attempts, "auth_attempts", "Clients that failed to log in too often"},
		{&count_failed, "auth_failed", "Logins with a good token that failed all the same"},
		{&count_full, "auth_full", "Clients closed because too many had not logged in"},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		*all[i].counter = ob_counter(ctx, all[i].name, all[i].help);
		if (*all[i].counter < 0) {
			return *all[i].counter;
		}
	}
	for (int v = TOKEN_MALFORMED; v < TOKEN_VERDICTS; v++) {
		char name[64];

		snprintf(name, sizeof(name), "auth_refused_%s", token_word(v));
		count_refused[v] = ob_counter(ctx, name, "Logins refused for this reason");
		if (count_refused[v] < 0) {
			return count_refused[v];
		}
	}
	return 0;
}

static int enlist(ob_ctx *ctx)
{
	int rc = settings.login_name
	                 ? ob_on_name(ctx, settings.login_name, on_login, OB_FROM_CLIENT)
	                 : ob_on_id_flags(ctx, settings.login_id, on_login, OB_FROM_CLIENT);

	login_id = settings.login_name ? ob_name_id(ctx, settings.login_name) : settings.login_id;
	for (size_t i = 0; i < settings.open_count; i++) {
		if (settings.open[i].name) {
			settings.open[i].lo = ob_name_id(ctx, settings.open[i].name);
			settings.open[i].hi = settings.open[i].lo;
		}
	}
	rc = rc < 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_OPENED, opened);
	return rc < 0 ? rc : ob_on_filter(ctx, FILTER_PRIORITY, admit);
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	settings_free(&settings);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_err err = {.text = ""};

	settings_free(&settings); /* of a generation that shares these, as in a mock host */
	int rc = settings_read(&settings, conf, &err);
	if (rc < 0) {
		ob_refuse(ctx, rc, err.text);
		stop(ctx);
		return rc;
	}
	waiting = ob_state(ctx, "waiting", sizeof(*waiting), WAITING_VERSION);
	rc = waiting ? add_counters(ctx) : OB_E_NOMEM;
	rc = rc < 0 ? rc : enlist(ctx);
	if (rc < 0) {
		stop(ctx);
	}
	return rc;
}

static void serve(ob_ctx *ctx)
{
	if (!ob_timer_start(ctx, SWEEP_MS, SWEEP_MS, sweep, NULL)) {
		ob_log(ctx, OB_LOG_ERROR, "no timer: who does not log in is not closed");
	}
}

OB_MODULE(auth, .version = "1.0.0", .check = check, .start = start, .live = serve, .resume = serve,
          .stop = stop);
