/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example firefly_slice, the gate: 101 logs in, 102 creates a role.  The game node asks it for the
 * role of a user who enters.
 *
 * An account is made by its first login.  Files are work for pool threads: a handler holds its
 * request, a job does the work, and what comes back from it binds the user, and answers.  Answers
 * have firefly's shape.  Passwords are those of the configuration: whoever has more than a few
 * users asks what keeps them.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "store.h"

#define LOGIN       101
#define CREATE_ROLE 102
#define ROLE_OF     "user.gate.account.role"

#define JOBS_MAX   256
#define FIRST_USER 1915
#define FIRST_ROLE 1000001

enum work { WORK_LOGIN, WORK_CREATE, WORK_ROLE };

/* A request that is worked on; the job's thread has it between work() and done(). */
struct job {
	ob_req req;
	ob_session session;
	enum work work;
	char user[STORE_NAME_MAX + 1];
	char rolename[STORE_NAME_MAX + 1];
	int profession;

	const char *problem; /* what has come of it; NULL: it went well */
	json_t *account;
};

static char *folder;
static json_t *passwords; /* by user */
static int jobs;          /* under way */

/* ---------------------------------------------------------------- answers ------------------ */

static void end(ob_ctx *ctx, struct job *job, json_t *body_stolen)
{
	char *text = body_stolen ? json_dumps(body_stolen, 0) : NULL;

	if (text) {
		ob_reply(ctx, job->req, text, strlen(text));
	} else {
		ob_fail(ctx, job->req, OB_E_APP, "out of memory");
	}
	free(text);
	json_decref(body_stolen);
	json_decref(job->account);
	free(job);
}

static void end_badly(ob_ctx *ctx, struct job *job, const char *why)
{
	end(ctx, job, json_pack("{s:b, s:s}", "result", 0, "message", why));
}

static json_int_t number(const json_t *account, const char *key)
{
	return json_integer_value(json_object_get(account, key));
}

/* ---------------------------------------------------------------- on a pool thread --------- */

/* The next account's number, from 0 on, or -1. */
static json_int_t next_number(void)
{
	int err;
	json_t *ids = store_read(folder, "state", "ids", &err);
	json_int_t n = number(ids, "accounts");

	json_decref(ids);
	if (err < 0) {
		return -1;
	}
	ids = json_pack("{s:I}", "accounts", n + 1);
	err = ids ? store_write(folder, "state", "ids", ids) : -1;
	json_decref(ids);
	return err < 0 ? -1 : n;
}

static void create_account(struct job *job)
{
	json_int_t n = next_number();

	job->problem = "the account can't be made now";
	if (n < 0) {
		return;
	}
	job->account = json_pack("{s:s, s:I, s:I}", "user", job->user, "userId", FIRST_USER + n,
	                         "characterId", FIRST_ROLE + n);
	if (job->account && store_write(folder, "accounts", job->user, job->account) == 0) {
		job->problem = NULL;
	}
}

static void create_role(struct job *job)
{
	if (json_object_get(job->account, "role")) {
		job->problem = "there is a role already";
		return;
	}
	json_t *role =
		json_pack("{s:s, s:i}", "name", job->rolename, "profession", job->profession);
	if (!role || json_object_set_new(job->account, "role", role) < 0 ||
	    store_write(folder, "accounts", job->user, job->account) < 0) {
		job->problem = "the role can't be saved now";
	}
}

static void work_locked(struct job *job)
{
	int err;

	job->account = store_read(folder, "accounts", job->user, &err);
	if (err < 0) {
		job->problem = "the account can't be read now";
	} else if (!job->account && job->work == WORK_LOGIN) {
		create_account(job);
	} else if (!job->account) {
		job->problem = "no such account";
	} else if (job->work == WORK_CREATE) {
		create_role(job);
	}
}

static void work(void *arg)
{
	struct job *job = arg;
	int lock = store_lock(folder);

	if (lock < 0) {
		job->problem = "accounts can't be read now";
		return;
	}
	work_locked(job);
	store_unlock(lock);
}

/* ---------------------------------------------------------------- back on the node's thread - */

static void bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	struct job *job = arg;

	if (res->code != OB_OK) {
		end_badly(ctx, job, res->text);
		return;
	}
	end(ctx, job,
	    json_pack("{s:{s:I, s:I, s:b}, s:b}", "data", "userId", number(job->account, "userId"),
	              "characterId", number(job->account, "characterId"), "hasRole",
	              json_object_get(job->account, "role") != NULL, "result", 1));
}

/* For the game node, which has called. */
static void tell_role(ob_ctx *ctx, struct job *job)
{
	const json_t *role = json_object_get(job->account, "role");

	if (!role) {
		end_badly(ctx, job, "there is no role yet");
		return;
	}
	end(ctx, job,
	    json_pack("{s:I, s:I, s:O, s:b}", "userId", number(job->account, "userId"),
	              "characterId", number(job->account, "characterId"), "role", role, "result",
	              1));
}

static void done(ob_ctx *ctx, void *arg)
{
	struct job *job = arg;

	jobs--;
	if (job->problem) {
		end_badly(ctx, job, job->problem);
		return;
	}
	switch (job->work) {
	case WORK_LOGIN:
		if (ob_session_bind(ctx, job->session, job->user, bound, job) != 0) {
			end_badly(ctx, job, "the user can't be bound now");
		}
		break;
	case WORK_CREATE:
		end(ctx, job,
		    json_pack("{s:{s:I, s:I}, s:b}", "data", "userId",
		              number(job->account, "userId"), "newCharacterId",
		              number(job->account, "characterId"), "result", 1));
		break;
	case WORK_ROLE:
		tell_role(ctx, job);
		break;
	}
}

/* ---------------------------------------------------------------- handlers ----------------- */

/* A job for the request; NULL: it has been answered. */
static struct job *job_for(ob_ctx *ctx, ob_req req, enum work what)
{
	ob_view view = {.size = sizeof(view)};
	struct job *job = jobs < JOBS_MAX ? calloc(1, sizeof(*job)) : NULL;

	if (!job || ob_req_view(ctx, req, &view) < 0) {
		free(job);
		ob_fail(ctx, req, OB_E_BUSY, "too many logins at once");
		return NULL;
	}
	job->req = req;
	job->session = view.session;
	job->work = what;
	return job;
}

static void begin(ob_ctx *ctx, struct job *job)
{
	if (ob_request_hold(ctx, job->req) < 0 || ob_job(ctx, work, done, job) < 0) {
		end_badly(ctx, job, "not now");
		return;
	}
	jobs++;
}

static void login(ob_ctx *ctx, ob_req req)
{
	const char *user = ob_req_str(ctx, req, "username");
	const char *password = ob_req_str(ctx, req, "password");
	ob_session_info info = {.size = sizeof(info)};
	struct job *job = job_for(ctx, req, WORK_LOGIN);

	if (!job) {
		return;
	}
	if (ob_session_get(ctx, job->session, &info) < 0 || *info.user) {
		end_badly(ctx, job, "logged in already");
		return;
	}
	const char *right = user ? json_string_value(json_object_get(passwords, user)) : NULL;
	if (!right || !password || ob_secret_equal(ctx, right, password) != 1) {
		end_badly(ctx, job, "no such user, or another password");
		return;
	}
	snprintf(job->user, sizeof(job->user), "%s", user);
	begin(ctx, job);
}

static void create(ob_ctx *ctx, ob_req req)
{
	const char *name = ob_req_str(ctx, req, "rolename");
	json_int_t profession = ob_req_int(ctx, req, "profession", 1);
	ob_session_info info = {.size = sizeof(info)};
	struct job *job = job_for(ctx, req, WORK_CREATE);

	if (!job) {
		return;
	}
	if (ob_session_get(ctx, job->session, &info) < 0 || !store_name_ok(info.user)) {
		end_badly(ctx, job, "log in first");
		return;
	}
	if (!store_name_ok(name) || profession < 1 || profession > 100) {
		end_badly(ctx, job, "rolename and profession (1 to 100), please");
		return;
	}
	snprintf(job->user, sizeof(job->user), "%s", info.user);
	snprintf(job->rolename, sizeof(job->rolename), "%s", name);
	job->profession = (int)profession;
	begin(ctx, job);
}

/* Called by code. */
static void role_of(ob_ctx *ctx, ob_req req)
{
	const char *user = ob_req_str(ctx, req, "user");
	struct job *job = job_for(ctx, req, WORK_ROLE);

	if (!job) {
		return;
	}
	if (!store_name_ok(user)) {
		end_badly(ctx, job, "log in first");
		return;
	}
	snprintf(job->user, sizeof(job->user), "%s", user);
	begin(ctx, job);
}

/* ---------------------------------------------------------------- life --------------------- */

static int check(const json_t *conf, ob_err *err)
{
	const char *path = json_string_value(json_object_get(conf, "data"));

	const char *user;
	json_t *value;

	if (!path || *path != '/' || strlen(path) >= 2048) {
		return ob_err_set(err, "data: must be a folder's whole path");
	}
	json_object_foreach (json_object_get(conf, "password"), user, value) {
		if (!store_name_ok(user) || !json_is_string(value)) {
			return ob_err_set(err, "password: must be {USER: TEXT, ...}");
		}
	}
	return 0;
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	free(folder);
	folder = NULL;
	json_decref(passwords);
	passwords = NULL;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	folder = strdup(json_string_value(json_object_get(conf, "data")));
	passwords = json_deep_copy(json_object_get(conf, "password"));
	int rc = folder ? ob_on_id(ctx, LOGIN, login) : OB_E_NOMEM;

	rc = rc < 0 ? rc : ob_on_id(ctx, CREATE_ROLE, create);
	rc = rc < 0 ? rc : ob_on_method(ctx, ROLE_OF, role_of, 0);
	if (rc < 0) {
		stop(ctx);
	}
	return rc;
}

OB_MODULE(ff_gate, .version = "1.0.0", .check = check, .start = start, .stop = stop);
