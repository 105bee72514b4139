/*
 * @NAME@: a module for obhost. It opens a port of its own for clients.
 *
 * Copyright (c) @YEAR@ @AUTHOR@
 *
 * {"port": N} is where; {"transport": "ws" or "tcp", "codec": NAME} what is spoken there, WebSocket
 * with the codec obespoir unless given. The codec's module, codec_NAME, must be loaded before. Each
 * message 1100 of a client is answered with how many clients have come.
 *
 * The listener is the node's. A generation that asks for the same one takes it over as it is, and
 * no newcomer is refused meanwhile; clients that are connected stay whatever becomes of it.
 */

#include <obhost/obhost.h>

#define COUNT_ID 1100

/* Kept by the node: the next generation is given the same memory. */
struct state {
	uint64_t came;
};

static struct state *state;

static void came(ob_ctx *ctx, const ob_event_info *info)
{
	state->came++;
}

static void count(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:I}", "code", 200, "came", (json_int_t)state->came);
}

static const char *word(const json_t *conf, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(conf, key));

	return text ? text : otherwise;
}

static int check(const json_t *conf, ob_err *err)
{
	const json_t *port = json_object_get(conf, "port");

	if (!json_is_integer(port) || json_integer_value(port) < 0 ||
	    json_integer_value(port) > 65535) {
		return ob_err_set(err, "port: must be given, 1 to 65535 (0: any, for tests)");
	}
	return 0;
}

/* The port is bound here and accepts from live on, so a port that is taken refuses the module
 * while the generation before it still serves. */
static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_listen_options options = {
		.size = sizeof(options),
		.transport = word(conf, "transport", "ws"),
		.codec = word(conf, "codec", "obespoir"),
		.host = json_string_value(json_object_get(conf, "host")),
		.port = (uint16_t)json_integer_value(json_object_get(conf, "port")),
		.path = NULL,
		.idle_ms = 300000,
	};
	int rc;

	state = (struct state *)ob_state(ctx, "state", sizeof(*state), 1);
	if (!state) {
		return OB_E_NOMEM;
	}
	rc = ob_listen(ctx, &options);
	if (rc < 0) {
		return ob_refuse(ctx, rc, ob_strerror(ctx, rc)); /* "address already in use", ... */
	}
	rc = ob_on_event(ctx, OB_EVENT_SESSION_OPENED, came);
	return rc < 0 ? rc : ob_on_id(ctx, COUNT_ID, count);
}

OB_MODULE(@NAME@, .version = "1.0.0", .check = check, .start = start);
