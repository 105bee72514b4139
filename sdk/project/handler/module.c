/*
 * @NAME@: a module for obhost. It takes messages.
 *
 * Copyright (c) @YEAR@ @AUTHOR@
 *
 * Message 1000, {"name": TEXT}, is answered with a greeting. The configuration {"id": N} makes it
 * another message.
 *
 * A module is read from its foot upwards: the descriptor names the hooks, start() registers the
 * handlers, and a handler is what a message meets. Everything is static but the descriptor.
 */

#include <obhost/obhost.h>

#define DEFAULT_ID 1000

/* Kept by the node: the next generation of this module is given the same memory, as long as it asks
 * with the same version. So: no pointers in it, and another version for another layout. */
struct state {
	uint64_t greeted;
};

#define STATE_VERSION 1

/* Statics belong to a generation: after a reload there are new ones, zeroed. */
static struct state *state;
static int greetings; /* a counter on the metrics page */

/* A handler ends its request by exactly one of ob_reply...(), ob_fail() and ob_done(), or keeps it
 * for later with ob_request_hold(). It must not block: the node has one thread. */
static void greet(ob_ctx *ctx, ob_req req)
{
	const json_t *body = ob_req_json(ctx, req);
	const char *name = ob_req_str(ctx, req, "name");

	if (!json_is_object(body)) {
		ob_fail(ctx, req, OB_E_BAD, "the body is no JSON object");
		return;
	}
	state->greeted++;
	ob_count(ctx, greetings, 1);

	/* The client's own number comes back, so that it can tell its answers apart. */
	ob_reply_json(ctx, req, "{s:i, s:s, s:I, s:I}", "code", 200, "hello",
	              name ? name : "stranger", "greeted", (json_int_t)state->greeted, "seq",
	              ob_req_int(ctx, req, "seq", 0));
}

static json_int_t conf_id(const json_t *conf)
{
	const json_t *id = json_object_get(conf, "id");

	return id ? json_integer_value(id) : DEFAULT_ID;
}

/* Before anything else: is the configuration right? It changes nothing. */
static int check(const json_t *conf, ob_err *err)
{
	json_int_t id = conf_id(conf);

	if (id < 1 || id > INT32_MAX) {
		return ob_err_set(err, "id: must be a message id, 1 to 2147483647");
	}
	return 0;
}

/* Registers. The generation before this one still serves: nothing is sent yet, and the shared
 * state is left alone. */
static int start(ob_ctx *ctx, const json_t *conf)
{
	state = (struct state *)ob_state(ctx, "state", sizeof(*state), STATE_VERSION);
	if (!state) {
		return ob_refuse(ctx, OB_E_NOMEM, "no memory for the state");
	}
	greetings = ob_counter(ctx, "greetings", "Greetings since the node started");
	if (greetings < 0) {
		return greetings;
	}
	return ob_on_id(ctx, (uint32_t)conf_id(conf), greet);
}

/* From here on it serves. */
static void live(ob_ctx *ctx)
{
	ob_log(ctx, OB_LOG_INFO, "%llu greeted so far", (unsigned long long)state->greeted);
}

OB_MODULE(@NAME@, .version = "1.0.0", .check = check, .start = start, .live = live);
