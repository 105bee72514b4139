/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module codec_pomelo: the protocol of pomelo's hybridconnector, so that its clients work as they
 * are.  This file is the state machine of a connection,
 *
 *     FRESH -HANDSHAKE-> [ASKING -answer->] GREETED -ACK-> WORKING
 *
 * and the module around it.  What is asked for in between is the handshake's handler, or, where
 * there is none, the host about a client that may come back.  Messages are turned into the host's
 * and back by message_in.c and message_out.c; layers, dictionary and protobuf have files of their
 * own, which know nothing of the host.  What pomelo ignores is ignored here (packages of another
 * state, responses from clients); what makes it crash or hang closes the client, who is told why.
 */

#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "client.h"
#include "message.h"
#include "unicode.h"

#define ASKING_POLL_MS 250 /* how soon a refusal of the handshake handler closes the connection */

/* Per generation: `start` makes it from the configuration. */
static struct pomelo own;

/* ---- the handshake ---- */

static void greet(ob_ctx *ctx, struct pomelo_client *c)
{
	c->phase = GREETED;
	c->seen = ob_now_ms(ctx);
}

static void work(ob_ctx *ctx, struct pomelo_client *c)
{
	c->phase = WORKING;
	c->seen = ob_now_ms(ctx);
}

static void ask_handler(struct pomelo_client *c, const struct pomelo_package *p, size_t len,
                        unsigned has, ob_packet *out)
{
	c->phase = ASKING;
	out->kind = OB_PACKET_MESSAGE;
	out->name = own.settings.handshake;
	out->name_len = strlen(out->name);
	out->cookie = COOKIE_HANDSHAKE | has;
	out->data = p->body;
	out->len = len;
	out->wake_ms = ASKING_POLL_MS;
}

/* A client that may come back: the answer is the handshake's. */
static void say_hello(struct pomelo_client *c, unsigned has, ob_packet *out)
{
	c->phase = ASKING;
	c->flags = (uint8_t)(CLIENT_RESUMES | has << CLIENT_HAS_AT);
	out->kind = OB_PACKET_HELLO;
	out->data = (const uint8_t *)own.hello.token;
	out->len = own.hello.token_len;
	out->cookie = own.hello.seen;
	out->wake_ms = ASKING_POLL_MS;
}

/* Negative: the client is to be closed, *out says why. */
static int take_handshake(ob_ctx *ctx, struct pomelo_client *c, const struct pomelo_package *p,
                          ob_packet *out)
{
	size_t len = pomelo_join_surrogates(p->body, p->len);
	unsigned has;
	int code = pomelo_handshake_read(&own.settings, p->body, len, &has, &own.hello);

	if (code != POMELO_OK) {
		c->phase = REFUSED;
		c->refusal = (uint16_t)code;
		if (code == POMELO_OLD) {
			pomelo_close_with(out, CLOSE_POLICY, "old_client",
			                  "this client is not taken");
		} else {
			pomelo_close_with(out, CLOSE_PROTOCOL, "bad_handshake", "bad handshake");
		}
		return -1;
	}
	c->forms = own.settings.forms;
	if (own.settings.handshake != NULL) {
		ask_handler(c, p, len, has, out);
		return 0;
	}
	if (own.hello.said) {
		say_hello(c, has, out);
		return 0;
	}
	greet(ctx, c);
	out->no_hello = 1;
	pomelo_answer(out, own.answers[has].data, own.answers[has].len);
	out->wake_ms = own.settings.handshake_ms;
	return 0;
}

/* What the handler has answered, as JSON for a client; NULL: it is none. */
static char *user_text(const ob_packet *packet)
{
	json_t *user = json_loadb((const char *)packet->data, packet->len, JSON_DECODE_ANY, NULL);
	char *text = NULL;

	if (user != NULL) {
		text = json_dumps(user, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	}
	json_decref(user);
	return text;
}

static size_t refuse_handshake(struct pomelo_client *c, uint8_t *out, size_t cap)
{
	uint8_t package[32];
	size_t n = pomelo_handshake_refusal(POMELO_FAILED, package);

	if (n <= cap) {
		c->phase = REFUSED; /* and closed when wake() or decode() is called next */
		memcpy(out, package, n);
	}
	return n;
}

static size_t write_greeting(const ob_packet *packet, uint8_t *out, size_t cap, bool *refused)
{
	const struct pomelo_bytes *greeting = &own.answers[packet->cookie % POMELO_ANSWERS];
	char *user = packet->len > 0 ? user_text(packet) : NULL;
	size_t n = greeting->len;

	*refused = packet->status != OB_OK || (packet->len > 0 && user == NULL);
	if (user != NULL) {
		n = pomelo_handshake_with_user(greeting, (const uint8_t *)user, strlen(user), out,
		                               cap);
	} else if (n <= cap) {
		memcpy(out, greeting->data, n);
	}
	free(user);
	return n;
}

/* Behind a greeting of n bytes, which is there if it fits. A client that could not wait for it has
 * its first heartbeat with it. */
static size_t end_greeting(ob_ctx *ctx, struct pomelo_client *c, size_t n, uint8_t *out, size_t cap)
{
	bool early = (c->flags & CLIENT_EARLY) != 0;
	size_t more = early && own.settings.heartbeat != NULL ? sizeof(own.heartbeat) : 0;

	if (n + more > cap) {
		return n + more;
	}
	memcpy(out + n, own.heartbeat, more);
	if (early) {
		work(ctx, c);
	} else {
		greet(ctx, c);
	}
	return n + more;
}

/* The answer of the handshake's handler. */
static size_t encode_handshake(ob_ctx *ctx, struct pomelo_client *c, const ob_packet *packet,
                               uint8_t *out, size_t cap)
{
	bool refused;

	if (c->phase != ASKING || c->forms != own.settings.forms) {
		return 0;
	}

	size_t n = write_greeting(packet, out, cap, &refused);

	return refused || n == 0 ? refuse_handshake(c, out, cap)
	                         : end_greeting(ctx, c, n, out, cap);
}

/* The answer to a hello. The dictionary may be another one than when it was said. */
static size_t encode_welcome(ob_ctx *ctx, struct pomelo_client *c, const ob_packet *packet,
                             uint8_t *out, size_t cap)
{
	bool same = c->forms == own.settings.forms;
	char *user = c->phase == ASKING ? pomelo_welcome_text(packet) : NULL;
	size_t n = 0;

	if (user != NULL) {
		n = pomelo_handshake_with_user(&own.answers[same ? c->flags >> CLIENT_HAS_AT : 0],
		                               (const uint8_t *)user, strlen(user), out, cap);
	}
	free(user);
	if (n == 0) {
		return 0;
	}
	c->forms = own.settings.forms;
	return end_greeting(ctx, c, n, out, cap);
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	struct pomelo_client *c = state;

	if (packet->kind == OB_PACKET_PUSH) {
		return pomelo_write_push(&own, c, packet, out, cap);
	}
	if (packet->kind == OB_PACKET_WELCOME) {
		return encode_welcome(ctx, c, packet, out, cap);
	}
	if ((packet->cookie & COOKIE_HANDSHAKE) != 0) {
		return encode_handshake(ctx, c, packet, out, cap);
	}
	return pomelo_write_response(&own, packet, out, cap);
}

/* ---- packages in ---- */

static void take_ack(ob_ctx *ctx, struct pomelo_client *c, ob_packet *out)
{
	out->kind = OB_PACKET_SKIP;
	if (c->phase == ASKING) {
		c->flags |= CLIENT_EARLY;
	}
	if (c->phase != GREETED) {
		return;
	}
	work(ctx, c);
	if (own.settings.heartbeat != NULL) {
		pomelo_answer(out, own.heartbeat, sizeof(own.heartbeat));
		out->idle_ms = UINT32_MAX; /* heartbeats tell */
		out->wake_ms = own.settings.timeout_ms;
	}
}

static void take_heartbeat(ob_ctx *ctx, struct pomelo_client *c, ob_packet *out)
{
	out->kind = OB_PACKET_SKIP;
	if (c->phase == WORKING && own.settings.heartbeat != NULL) {
		c->seen = ob_now_ms(ctx);
		pomelo_answer(out, own.heartbeat, sizeof(own.heartbeat));
		out->wake_ms = own.settings.timeout_ms;
	}
}

static int take_data(ob_ctx *ctx, struct pomelo_client *c, const struct pomelo_package *p,
                     size_t max, ob_packet *out)
{
	if (c->phase != WORKING) {
		out->kind = OB_PACKET_SKIP;
		return 0;
	}
	if (!own.settings.strict_heartbeat) {
		c->seen = ob_now_ms(ctx);
	}
	return pomelo_take_message(&own, c, p, max, out);
}

/* Negative: the client is to be closed, *out says why. */
static int take(ob_ctx *ctx, struct pomelo_client *c, const struct pomelo_package *p, size_t max,
                ob_packet *out)
{
	switch (p->type) {
	case POMELO_HANDSHAKE:
		if (c->phase == FRESH) {
			return take_handshake(ctx, c, p, out);
		}
		out->kind = OB_PACKET_SKIP;
		return 0;
	case POMELO_ACK:
		take_ack(ctx, c, out);
		return 0;
	case POMELO_HEARTBEAT:
		take_heartbeat(ctx, c, out);
		return 0;
	case POMELO_DATA:
		return take_data(ctx, c, p, max, out);
	default:
		pomelo_close_with(out, CLOSE_PROTOCOL, "bad_package", "a client can't kick");
		return -1;
	}
}

static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	struct pomelo_client *c = state;
	size_t most = max < own.settings.max_package ? max : own.settings.max_package;
	struct pomelo_package p;

	(void)boundary;
	if (c->phase == REFUSED) {
		return pomelo_close_with(out, CLOSE_POLICY, "handshake_refused",
		                         "handshake refused");
	}
	if (c->phase == FRESH && c->seen == 0) {
		c->seen = ob_now_ms(ctx);
		out->wake_ms = own.settings.handshake_ms;
	}
	switch (pomelo_package_read(data, len, most, &p)) {
	case POMELO_PART:
		out->kind = OB_PACKET_NEED;
		out->need = p.need;
		return 0;
	case POMELO_BAD_TYPE:
		return pomelo_close_with(out, CLOSE_PROTOCOL, "bad_package",
		                         "unknown package type");
	case POMELO_TOO_LONG:
		return pomelo_close_with(out, CLOSE_TOO_BIG, "too_big", "package too long");
	default:
		return take(ctx, c, &p, max, out) < 0 ? 0 : p.need;
	}
}

/* ---- time, and the end ---- */

/* Goes on waiting for what is due `ms` after the client was seen; false: it is due. */
static bool still_time(ob_ctx *ctx, const struct pomelo_client *c, uint32_t ms, ob_packet *out)
{
	uint64_t passed = ob_now_ms(ctx) - c->seen;

	if (passed >= ms) {
		return false;
	}
	out->wake_ms = (uint32_t)(ms - passed);
	return true;
}

static size_t wake_worker(ob_ctx *ctx, const struct pomelo_client *c, ob_packet *out)
{
	if (c->forms != own.settings.forms) {
		return pomelo_close_with(out, CLOSE_RESTART, "new_dictionary",
		                         "connect again: new dictionary");
	}
	if (own.settings.heartbeat == NULL) {
		return 0;
	}
	out->idle_ms = UINT32_MAX;
	if (!still_time(ctx, c, own.settings.timeout_ms, out)) {
		return pomelo_close_with(out, CLOSE_POLICY, "heartbeat", "no heartbeat");
	}
	return 0;
}

static size_t wake(ob_ctx *ctx, void *state, ob_packet *out)
{
	const struct pomelo_client *c = state;

	out->kind = OB_PACKET_SKIP;
	switch (c->phase) {
	case ASKING:
		out->wake_ms = ASKING_POLL_MS;
		return 0;
	case FRESH:
	case GREETED:
		if (!still_time(ctx, c, own.settings.handshake_ms, out)) {
			return pomelo_close_with(out, CLOSE_POLICY, "handshake_timeout",
			                         "no handshake in time");
		}
		return 0;
	case WORKING:
		return wake_worker(ctx, c, out);
	case REFUSED:
		return pomelo_close_with(out, CLOSE_POLICY, "handshake_refused",
		                         "handshake refused");
	default:
		return 0;
	}
}

static size_t write_kick(const char *reason, uint8_t *out, size_t cap)
{
	json_t *kick = json_pack("{s:s}", "reason", *reason != '\0' ? reason : "kick");
	size_t len = kick != NULL ? json_dumpb(kick, (char *)out + POMELO_HEAD, cap - POMELO_HEAD,
	                                       JSON_COMPACT | JSON_ENSURE_ASCII)
	                          : 0;

	json_decref(kick);
	if (len == 0 || len > cap - POMELO_HEAD) {
		return *reason != '\0' ? write_kick("", out, cap) : 0;
	}
	pomelo_package_head(out, POMELO_KICK, len);
	return POMELO_HEAD + len;
}

/* A client that should come back is not kicked: it sees the connection end, and connects again. */
static bool comes_back(uint16_t code)
{
	return code == CLOSE_GOING_AWAY || code == CLOSE_RESTART || code == CLOSE_DRAINED;
}

static size_t last_words(ob_ctx *ctx, void *state, uint16_t code, const char *reason, uint8_t *out,
                         size_t cap)
{
	const struct pomelo_client *c = state;

	(void)ctx;
	if (c->phase == REFUSED) {
		return c->refusal != 0 ? pomelo_handshake_refusal(c->refusal, out) : 0;
	}
	return c->phase == FRESH || comes_back(code) ? 0 : write_kick(reason, out, cap);
}

/* What a push looks like to a client: the forms that it was greeted with are those of now, or not.
 */
static uint32_t variant(ob_ctx *ctx, const void *state)
{
	const struct pomelo_client *c = state;

	(void)ctx;
	if (!pomelo_takes_pushes(c)) {
		return OB_CODEC_NO_PUSH;
	}
	return c->forms == own.settings.forms;
}

/* ---- the module ---- */

static const ob_codec codec = {
	.size = sizeof(codec),
	.state_size = sizeof(struct pomelo_client),
	.state_ver = 1,
	.flags = OB_CODEC_RESUMES,
	.overhead = POMELO_HEAD + POMELO_MESSAGE_HEAD_MAX,
	.name = "pomelo",
	.decode = decode,
	.encode = encode,
	.close = last_words,
	.wake = wake,
	.variant = variant,
};

static void clean_up(void)
{
	for (size_t i = 0; i < POMELO_ANSWERS; i++) {
		pomelo_bytes_free(&own.answers[i]);
	}
	pomelo_bytes_free(&own.in);
	pomelo_bytes_free(&own.out);
	pomelo_bytes_free(&own.text);
	pomelo_settings_free(&own.settings);
}

static int check(const json_t *conf, ob_err *err)
{
	struct pomelo_settings settings = {0};
	struct pomelo_bytes answers[POMELO_ANSWERS] = {0};
	int rc = pomelo_settings_read(&settings, conf, err);

	if (rc == 0) {
		rc = pomelo_handshake_answers(&settings, answers, err);
	}
	for (size_t i = 0; i < POMELO_ANSWERS; i++) {
		pomelo_bytes_free(&answers[i]);
	}
	pomelo_settings_free(&settings);
	return rc;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_err err = {""};
	int rc = pomelo_settings_read(&own.settings, conf, &err);

	pomelo_package_head(own.heartbeat, POMELO_HEARTBEAT, 0);
	if (rc == 0) {
		rc = pomelo_handshake_answers(&own.settings, own.answers, &err);
	}
	if (rc == 0) {
		rc = ob_on_codec(ctx, &codec);
	}
	if (rc != 0) {
		ob_log(ctx, OB_LOG_ERROR, "%s", err.text);
		clean_up();
	}
	return rc;
}

/* What is written must be read back: a generation that can't is not switched to. */
static int selftest(ob_ctx *ctx)
{
	struct pomelo_client c = {.phase = WORKING, .forms = own.settings.forms};
	uint8_t wire[] = {POMELO_DATA, 0, 0, 10, 0, 7, 5, 'a', '.', 'b', '.', 'c', '{', '}'};
	ob_packet back = {.size = sizeof(back)};

	if (decode(ctx, &c, wire, sizeof(wire), true, sizeof(wire), &back) != sizeof(wire) ||
	    back.kind != OB_PACKET_MESSAGE || back.name_len != 5 ||
	    (back.cookie & POMELO_ID_MAX) != 7) {
		return OB_E_APP;
	}
	return 0;
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	clean_up();
}

OB_MODULE(codec_pomelo, .version = "1.0.0", .provides = "codec_pomelo/1.0", .check = check,
          .start = start, .selftest = selftest, .stop = stop);
