/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module pushbench: how long a node's loop is away while it pushes to all its clients.  From POST
 * /pushbench/begin to POST /pushbench/end, which answers with the report, it has something to do
 * in each turn of the loop and looks at the clock, and at the loop's own CPU time, which goes on
 * only when the processor is not with others; POST /pushbench with {"id":N, "size":BYTES,
 * "count":K} sends K messages to all clients of the node's role.
 *
 * What a client sends with the id 30000 goes to all clients with ob_push_all(), what it sends with
 * 30001 with ob_push_group() to a group that all are in; {"id":N} in its configuration has it take
 * N and N + 1 instead.  {"group":true} is what puts them there.
 */

#include <string.h>
#include <time.h>

#include <obhost/obhost.h>

enum { MOST = 65536 };

static const char group[] = "pushbench";
static uint32_t first_id;

static const clockid_t clocks[2] = {CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID};

static struct {
	bool on;
	uint64_t last_ns[2];
	uint64_t longest_ns[2];
	uint64_t turns;
} watch;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void turn(ob_ctx *ctx, void *arg)
{
	if (!watch.on) {
		return;
	}
	for (int i = 0; i < 2; i++) {
		uint64_t now = now_ns(clocks[i]);
		uint64_t took = now - watch.last_ns[i];
		watch.longest_ns[i] = took > watch.longest_ns[i] ? took : watch.longest_ns[i];
		watch.last_ns[i] = now;
	}
	watch.turns++;
	watch.on = ob_post(ctx, turn, arg) == 0;
}

static void begin(ob_ctx *ctx, ob_req req)
{
	bool was_on = watch.on;

	memset(&watch, 0, sizeof(watch));
	for (int i = 0; i < 2; i++) {
		watch.last_ns[i] = now_ns(clocks[i]);
	}
	watch.on = was_on || ob_post(ctx, turn, NULL) == 0;
	ob_reply_json(ctx, req, "{}");
}

static void end(ob_ctx *ctx, ob_req req)
{
	bool whole = watch.on; /* it has seen each turn */

	watch.on = false;
	ob_reply_json(ctx, req, "{s:b, s:f, s:f, s:I}", "whole", whole, "longest_us",
	              (double)watch.longest_ns[0] / 1e3, "longest_cpu_us",
	              (double)watch.longest_ns[1] / 1e3, "turns", (json_int_t)watch.turns);
}

static void push(ob_ctx *ctx, ob_req req)
{
	static char body[MOST];
	int64_t size = ob_req_int(ctx, req, "size", 64);
	int64_t count = ob_req_int(ctx, req, "count", 1);
	ob_node_info node = {.size = sizeof(node)};

	if (size < 0 || size > MOST || ob_node(ctx, &node) != 0) {
		ob_fail(ctx, req, OB_E_BAD, NULL);
		return;
	}
	memset(body, 'x', (size_t)size);
	int rc = 1;
	for (int64_t i = 0; i < count && rc == 1; i++) {
		rc = ob_push_all(ctx, node.role_id, (uint32_t)ob_req_int(ctx, req, "id", 30000),
		                 body, (size_t)size);
	}
	ob_reply_json(ctx, req, "{s:i}", "nodes", rc);
}

/* ---- by a client's message ---- */

static void to_all(ob_ctx *ctx, ob_req req)
{
	ob_node_info node = {.size = sizeof(node)};
	ob_view view = {.size = sizeof(view)};

	if (ob_node(ctx, &node) == 0 && ob_req_view(ctx, req, &view) == 0) {
		ob_push_all(ctx, node.role_id, first_id, view.data, view.len);
	}
	ob_done(ctx, req);
}

static void to_group(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	if (ob_req_view(ctx, req, &view) == 0) {
		ob_push_group(ctx, group, first_id + 1, view.data, view.len);
	}
	ob_done(ctx, req);
}

static void opened(ob_ctx *ctx, const ob_event_info *info)
{
	ob_group_join(ctx, info->session, group);
}

static int start_messages(ob_ctx *ctx, const json_t *conf)
{
	const json_t *id = json_object_get(conf, "id");

	first_id = id != NULL ? (uint32_t)json_integer_value(id) : 30000;
	int rc = ob_on_id_flags(ctx, first_id, to_all, OB_FROM_CLIENT | OB_ONE_WAY);
	if (rc == 0) {
		rc = ob_on_id_flags(ctx, first_id + 1, to_group, OB_FROM_CLIENT | OB_ONE_WAY);
	}
	if (rc == 0 && json_is_true(json_object_get(conf, "group"))) {
		rc = ob_on_event(ctx, OB_EVENT_SESSION_OPENED, opened);
	}
	return rc;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = start_messages(ctx, conf);
	rc = rc == 0 ? ob_on_http(ctx, "POST", "/pushbench", push, 0) : rc;
	rc = rc == 0 ? ob_on_http(ctx, "POST", "/pushbench/begin", begin, 0) : rc;
	return rc == 0 ? ob_on_http(ctx, "POST", "/pushbench/end", end, 0) : rc;
}

OB_MODULE(pushbench, .version = "1.0.0", .start = start);
