/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module callbench: measures what ob_call() costs. POST /callbench with
 * {"role":R, "id":N, "in_flight":W, "size":BYTES, "warmup":SECONDS, "seconds":SECONDS} keeps W
 * calls of message N to nodes of role R in flight, and answers with the report when all have ended.
 * One run at a time; the node's call_timeout must be longer than a run.
 */

#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "bench/callrun.h"

enum { CALL_MS = 5000 };

/* One run: its slots are the arguments of its calls, so it stays where it is. */
struct run {
	struct ob__callrun r;
	ob_req req;
	ob_target target;
	uint32_t id;
	uint8_t body[OB__CALLRUN_MAX_SIZE];
	struct slot {
		struct run *run;
		unsigned number;
	} slot[OB__CALLRUN_MAX_SLOTS];
};

static struct run *running;

static void finish(ob_ctx *ctx)
{
	char text[OB__CALLRUN_JSON];
	size_t n = ob__callrun_json(&running->r, text);

	text[n++] = '}';
	ob_http_reply(ctx, running->req, 200, "application/json", text, n);
	free(running);
	running = NULL;
}

static void on_result(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg);

/* A call that can't be made is one that has failed; its slot is out, as trying again at once could
 * go on for ever. */
static void send_call(ob_ctx *ctx, struct slot *slot)
{
	struct run *run = slot->run;

	if (ob_call(ctx, &run->target, run->id, 0, run->body, run->r.size, CALL_MS, on_result,
	            slot) == 0) {
		run->r.errors++;
		run->r.owed--;
	}
}

static void on_result(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	struct slot *slot = arg;
	struct run *run = slot->run;
	bool ok = res->code == OB_OK && res->len == run->r.size;

	(void)call;
	if (ob__callrun_ended(&run->r, slot->number, ok)) {
		send_call(ctx, slot);
	}
	if (run->r.owed == 0) {
		finish(ctx);
	}
}

static struct run *read_run(ob_ctx *ctx, ob_req req)
{
	const json_t *body = ob_req_json(ctx, req);
	const char *role = ob_req_str(ctx, req, "role");
	struct run *run = role != NULL ? calloc(1, sizeof(*run)) : NULL;

	if (run == NULL) {
		return NULL;
	}
	run->req = req;
	run->target.role = ob_role(ctx, role);
	run->id = (uint32_t)ob_req_int(ctx, req, "id", 30000);
	run->r.in_flight = (unsigned)ob_req_int(ctx, req, "in_flight", 1);
	run->r.size = (size_t)ob_req_int(ctx, req, "size", 64);
	run->r.warmup = json_number_value(json_object_get(body, "warmup"));
	run->r.seconds = json_number_value(json_object_get(body, "seconds"));
	memset(run->body, 'x', sizeof(run->body));
	return run;
}

static void begin(ob_ctx *ctx, ob_req req)
{
	struct run *run = running == NULL ? read_run(ctx, req) : NULL;

	if (run == NULL || ob__callrun_start(&run->r) < 0) {
		ob_fail(ctx, req, running != NULL ? OB_E_BUSY : OB_E_BAD, NULL);
		free(run);
		return;
	}
	running = run;
	ob_request_hold(ctx, req);
	for (unsigned i = 0; i < run->r.in_flight; i++) {
		run->slot[i] = (struct slot){run, i};
		send_call(ctx, &run->slot[i]);
	}
	if (run->r.owed == 0) {
		finish(ctx);
	}
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_http(ctx, "POST", "/callbench", begin, 0);
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	free(running);
	running = NULL;
}

OB_MODULE(callbench, .version = "1.0.0", .start = start, .stop = stop);
