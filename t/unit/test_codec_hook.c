/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* What a codec may do besides decode and encode, in a whole node: begin with a connection, answer
 * by itself, wake, set the time a client may be silent, say goodbye, name what it closes for, and
 * check a listener's configuration. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/client/conn.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct rig_client c;
static struct puppet p;
static ob_codec codec;

struct state {
	char transport[16];
	char token[16];
	int64_t of_conf;
	uint64_t arg;
	uint32_t encode;
	uint32_t ticks;
};

enum fault {
	NONE,
	OPEN_REFUSES,
	ANSWER_OF_NOTHING,
	ANSWER_TOO_LONG,
	WAKE_CONSUMES,
	WAKE_KIND,
	WAKE_MESSAGE,
	WAKE_CLOSES,
	CLOSE_TOO_LONG,
	ENCODE_INSATIABLE,
	CHECK_REFUSES,
	CHECK_SILENT,
};

static enum fault fault;
static uint32_t again_ms; /* what wake asks for */
static char answer[70000];
static struct {
	int opened;
	int closed;
	int woken;
	int checked;
	int encoded;
	int sessions;
	int ended;
	ob_session session;
	uint16_t code;
	char reason[64];
} seen;

static uint32_t open_wakes_ms; /* what open asks for */
static uint32_t open_idle_ms;

static int hook_open(ob_ctx *ctx, void *state, const ob_codec_open *info)
{
	struct state *s = state;

	seen.opened++;
	CU_ASSERT_EQUAL(info->size, sizeof(*info));
	CU_ASSERT_EQUAL(s->arg, 0); /* zeroed */
	CU_ASSERT_EQUAL(*info->wake_ms, 0);
	CU_ASSERT_EQUAL(*info->idle_ms, 0);
	*info->wake_ms = open_wakes_ms;
	*info->idle_ms = open_idle_ms;
	snprintf(s->transport, sizeof(s->transport), "%s", info->transport);
	snprintf(s->token, sizeof(s->token), "%s", info->token != NULL ? info->token : "");
	s->of_conf = json_integer_value(json_object_get(info->conf, "n"));
	s->arg = info->arg;
	s->encode = info->encode;
	return fault == OPEN_REFUSES ? OB_E_DENIED : 0;
}

static size_t hook_close(ob_ctx *ctx, void *state, uint16_t code, const char *reason, uint8_t *out,
                         size_t cap)
{
	const struct state *s = state;

	seen.closed++;
	seen.code = code;
	snprintf(seen.reason, sizeof(seen.reason), "%s", reason);
	CU_ASSERT(cap >= OB_CODEC_LAST_WORDS);
	CU_ASSERT_EQUAL(s->arg, 7);
	CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 5, "x", 1), OB_E_STALE); /* it is over */
	CU_ASSERT_EQUAL(ob_session_close(p.ctx, seen.session, 0, NULL), 0);   /* once is enough */
	if (fault == CLOSE_TOO_LONG) {
		return cap + 1;
	}
	return (size_t)snprintf((char *)out, cap, "bye %u %s\n", code, reason);
}

static size_t hook_wake(ob_ctx *ctx, void *state, ob_packet *out)
{
	struct state *s = state;

	seen.woken++;
	CU_ASSERT_EQUAL(out->size, sizeof(*out));
	CU_ASSERT_EQUAL(s->arg, 7);
	out->kind = fault == WAKE_KIND      ? 0
	            : fault == WAKE_MESSAGE ? OB_PACKET_MESSAGE
	            : fault == WAKE_CLOSES  ? OB_PACKET_CLOSE
	                                    : OB_PACKET_ANSWER;
	out->kind_word = "no_heartbeat";
	out->code = 4009;
	out->reason = "no heartbeat";
	out->id = 1000;
	out->wake_ms = again_ms;
	out->data = (uint8_t *)answer;
	out->len = (size_t)snprintf(answer, sizeof(answer), "tick %u\n", ++s->ticks);
	return fault == WAKE_CONSUMES;
}

static int hook_check(ob_ctx *ctx, const ob_codec_open *info, ob_err *err)
{
	seen.checked++;
	CU_ASSERT_EQUAL(info->arg, codec.arg);
	CU_ASSERT_PTR_NULL(info->wake_ms);
	CU_ASSERT_PTR_NULL(info->idle_ms);
	if (fault == CHECK_SILENT) {
		return OB_E_INVAL;
	}
	return fault == CHECK_REFUSES ? ob_err_set(err, "n is odd") : 0;
}

/* Lines: "ping N" is answered with N bytes, "wake N", "idle N", "bad WORD", "who"; and "ID TEXT".
 */
static size_t line_decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary,
                          size_t max, ob_packet *out)
{
	static char word[40];
	const struct state *s = state;
	uint8_t *nl = memchr(data, '\n', len);
	char *text = (char *)data;

	if (nl == NULL) {
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	size_t line = (size_t)(nl - data) + 1;
	if (strncmp(text, "ping ", 5) == 0) {
		size_t size = strtoul(text + 5, NULL, 10);
		memset(answer, 'p', size);
		answer[size > 0 ? size - 1 : 0] = '\n';
		out->kind = OB_PACKET_ANSWER;
		out->data = fault == ANSWER_OF_NOTHING ? NULL : (uint8_t *)answer;
		out->len = fault == ANSWER_TOO_LONG ? SIZE_MAX : size;
	} else if (strncmp(text, "who", 3) == 0) {
		out->kind = OB_PACKET_ANSWER;
		out->data = (uint8_t *)answer;
		out->len = (size_t)snprintf(answer, sizeof(answer), "%s,%s,%lld,%llu,%u\n",
		                            s->transport, s->token, (long long)s->of_conf,
		                            (unsigned long long)s->arg, s->encode);
	} else if (strncmp(text, "wake ", 5) == 0) {
		out->kind = OB_PACKET_SKIP;
		out->wake_ms = (uint32_t)strtoul(text + 5, NULL, 10);
	} else if (strncmp(text, "idle ", 5) == 0) {
		out->kind = OB_PACKET_SKIP;
		out->idle_ms = (uint32_t)strtoul(text + 5, NULL, 10);
	} else if (strncmp(text, "bad ", 4) == 0) {
		snprintf(word, sizeof(word), "%.*s", (int)line - 5, text + 4);
		out->kind = OB_PACKET_CLOSE;
		out->code = 4400;
		out->reason = "that is bad";
		out->kind_word = word;
		return 0;
	} else {
		out->kind = OB_PACKET_MESSAGE;
		out->id = (uint32_t)strtoul(text, NULL, 10);
		out->data = data;
		out->len = line - 1;
	}
	return line;
}

/* "x*N" goes out as N times x, whatever room there is for that. */
static size_t line_encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out,
                          size_t cap)
{
	char text[32] = "";
	unsigned times;

	memcpy(text, packet->len > 0 ? packet->data : (const uint8_t *)"",
	       packet->len < sizeof(text) ? packet->len : sizeof(text) - 1);
	if (sscanf(text, "1000 x*%u", &times) != 1) {
		return (size_t)snprintf((char *)out, cap, "%.*s\n", (int)packet->len,
		                        packet->len > 0 ? (const char *)packet->data : "");
	}
	seen.encoded++;
	if (fault == ENCODE_INSATIABLE) {
		return cap + 1;
	}
	if (times < cap) {
		memset(out, 'x', times);
		out[times] = '\n';
	}
	return times + 1;
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = sizeof(v)};

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	ob_reply(ctx, req, v.data, v.len);
}

static void on_event(ob_ctx *ctx, const ob_event_info *info)
{
	if (info->event == OB_EVENT_SESSION_OPENED) {
		seen.sessions++;
		seen.session = info->session;
	} else {
		seen.ended++;
	}
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_codec(ctx, &codec);

	rc = rc == 0 ? ob_on_id(ctx, 1000, echo) : rc;
	rc = rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_OPENED, on_event) : rc;
	return rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, on_event) : rc;
}

static void prepare(void)
{
	rig_begin();
	memset(&p, 0, sizeof(p));
	memset(&seen, 0, sizeof(seen));
	fault = NONE;
	again_ms = 0;
	open_wakes_ms = 0;
	open_idle_ms = 0;
	codec = (ob_codec){
		.size = sizeof(codec),
		.state_size = sizeof(struct state),
		.state_ver = 1,
		.flags = OB_CODEC_STREAM | OB_CODEC_TEXT,
		.overhead = 40,
		.name = "line",
		.decode = line_decode,
		.encode = line_encode,
		.arg = 7,
		.open = hook_open,
		.close = hook_close,
		.wake = hook_wake,
		.conf_check = hook_check,
	};
	p.start = start;
}

static void write_conf(const char *listen)
{
	rig_write_conf(&n, "n", "x", "%s 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	               listen, (long)(intptr_t)&p);
}

#define LINE "'transport': '%s', 'codec': 'line', 'port': 0"

static void begin_with(const char *transport, const char *more)
{
	char conf[300];

	prepare();
	/* codec_line, which the listener implies, is an idle puppet: this one offers the codec */
	snprintf(conf, sizeof(conf),
	         "'limits': {'client_queue': '64k', 'message': '32k'}, "
	         "'listen': [{" LINE "%s}],",
	         transport, more);
	rig_start(&n, "n", "x", "%s 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]", conf,
	          (long)(intptr_t)&p);
}

static void begin(const char *transport)
{
	begin_with(transport, "");
	rig_connect(&c, n.port, strcmp(transport, "ws") == 0);
}

static void end(void)
{
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	CU_ASSERT_EQUAL(seen.sessions, seen.ended);
	rig_stop(&n);
	rig_end();
}

static double closed_for(const char *reason)
{
	char series[96];

	snprintf(series, sizeof(series), "obhost_client_closed_total{reason=\"%s\"}", reason);
	return rig_metric(&n, series);
}

static void say(const char *text)
{
	if (c.ws) {
		rig_send_frame(&c, 0x81, text, strlen(text));
	} else {
		rig_send_raw(&c, text, strlen(text));
	}
}

/* The next line. */
static bool line_is(const char *want)
{
	char got[256] = "";
	bool came = RIG_UNTIL(
		(rig_pump(&c), (c.packets_len > 0 && memchr(c.packets, '\n', c.packets_len)) ||
	                               c.eof || c.close_seen));

	if (came && c.packets_len > 0) {
		uint8_t *nl = memchr(c.packets, '\n', c.packets_len);
		size_t len = (size_t)(nl - c.packets);
		snprintf(got, sizeof(got), "%.*s", (int)len, (char *)c.packets);
		memmove(c.packets, nl + 1, c.packets_len - len - 1);
		c.packets_len -= len + 1;
	}
	if (strcmp(got, want) != 0) {
		printf("# got \"%s\", expected \"%s\"\n", got, want);
	}
	return strcmp(got, want) == 0;
}

static bool reload(int status, const char *expected)
{
	return rig_admin_expect(&n, "modules.reload", "{'name': 'puppet', 'force': true}", status,
	                        expected);
}

static struct ob__conn *only_conn(void)
{
	uint32_t i = 0;

	return ob__slab_next(&n.node->clients.conns, &i);
}

/* ---------------------------------------------------------------- open and close */

static void test_open(void)
{
	static const struct {
		const char *transport;
		const char *more;
		const char *who;
	} rows[] = {
		{"ws", "", "ws,,0,7,0"},
		{"tcp", ", 'token': 'tok', 'encode': 2, 'codec_conf': {'n': 5}", "tcp,tok,5,7,2"},
	};

	for (size_t i = 0; i < 2; i++) {
		begin_with(rows[i].transport, rows[i].more);
		rig_connect(&c, n.port, i == 0);
		say("who\n");
		CU_ASSERT_TRUE(line_is(rows[i].who));
		CU_ASSERT_EQUAL(seen.opened, 1);
		/* it is for connections that begin; those that are there go on with their state */
		CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
		say("who\n1000 x\n");
		CU_ASSERT_TRUE(line_is(rows[i].who));
		CU_ASSERT_TRUE(line_is("1000 x"));
		CU_ASSERT_EQUAL(seen.opened, 1);
		CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_messages_total"), 1);
		end();
	}
	begin_with("tcp", ", 'token': 'sesame'");
	char *shown = json_dumps(n.node->masked_conf, 0); /* the token is a secret */
	CU_ASSERT_PTR_NULL(strstr(shown, "sesame"));
	free(shown);
	rig_stop(&n);
	rig_end();
}

static void test_open_refuses(void)
{
	for (int tcp = 0; tcp < 2; tcp++) {
		begin_with(tcp ? "tcp" : "ws", "");
		fault = OPEN_REFUSES;
		rig_connect(&c, n.port, tcp == 0);
		CU_ASSERT_EQUAL(rig_closed(&c), tcp ? 0 : 1011);
		CU_ASSERT_EQUAL(closed_for("codec_open"), 1);
		CU_ASSERT_EQUAL(seen.sessions, 0); /* nobody hears of it */
		CU_ASSERT_EQUAL(seen.closed, 0);
		CU_ASSERT_EQUAL(c.packets_len, 0);
		rig_disconnect(&c);
		fault = NONE;
		rig_connect(&c, n.port, tcp == 0);
		say("1000 x\n");
		CU_ASSERT_TRUE(line_is("1000 x"));
		end();
	}
}

/* What becomes longer than its codec's overhead allows for. */
static void test_more_room(void)
{
	static const size_t sizes[] = {45, 130, 5000, 30000};

	for (int tcp = 0; tcp < 2; tcp++) {
		begin(tcp ? "tcp" : "ws");
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			char text[32];

			snprintf(text, sizeof(text), "1000 x*%zu\n", sizes[i]);
			seen.encoded = 0;
			c.packets_len = 0;
			say(text);
			CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&c), c.packets_len == sizes[i] + 1)));
			CU_ASSERT_EQUAL(c.packets[sizes[i] - 1], 'x');
			CU_ASSERT_EQUAL(c.packets[sizes[i]], '\n');
			CU_ASSERT(seen.encoded == 2 || (seen.encoded == 1 && sizes[i] < 70));
		}
		c.packets_len = 0;
		say("1000 x*100000\n"); /* more than may ever be queued for a client */
		CU_ASSERT_EQUAL(rig_closed(&c), tcp ? 0 : 1008);
		CU_ASSERT_EQUAL(closed_for("slow"), 1);
		rig_disconnect(&c);

		fault = ENCODE_INSATIABLE;
		rig_connect(&c, n.port, tcp == 0);
		say("1000 x*10\n");
		CU_ASSERT_EQUAL(rig_closed(&c), tcp ? 0 : 1011);
		CU_ASSERT_EQUAL(closed_for("encode"), 1);
		end();
	}
}

static void test_last_words(void)
{
	for (int tcp = 0; tcp < 2; tcp++) {
		begin(tcp ? "tcp" : "ws");
		say("1000 x\n");
		CU_ASSERT_TRUE(line_is("1000 x"));
		CU_ASSERT_EQUAL(ob_push(p.ctx, seen.session, 5, "first", 5), 0);
		CU_ASSERT_EQUAL(ob_session_close(p.ctx, seen.session, 4001, "kicked out"), 0);
		CU_ASSERT_EQUAL(rig_closed(&c), tcp ? 0 : 4001);
		CU_ASSERT_TRUE(line_is("first"));
		CU_ASSERT_TRUE(line_is("bye 4001 kicked out"));
		CU_ASSERT_EQUAL(seen.closed, 1);
		CU_ASSERT_EQUAL(c.packets_len, 0);
		CU_ASSERT_EQUAL(closed_for("kicked"), 1);
		rig_disconnect(&c);

		/* too much is nothing, and the codec's fault */
		rig_connect(&c, n.port, tcp == 0);
		say("1000 x\n");
		CU_ASSERT_TRUE(line_is("1000 x"));
		fault = CLOSE_TOO_LONG;
		CU_ASSERT_EQUAL(ob_session_close(p.ctx, seen.session, 0, NULL), 0);
		CU_ASSERT_EQUAL(rig_closed(&c), tcp ? 0 : 1000);
		CU_ASSERT_EQUAL(c.packets_len, 0);
		CU_ASSERT_EQUAL(closed_for("codec"), 1);
		CU_ASSERT_EQUAL(seen.closed, 2);
		CU_ASSERT_STRING_EQUAL(seen.reason, "");
		rig_disconnect(&c);

		/* a client that closes hears nothing more, nor one that is gone */
		fault = NONE;
		rig_connect(&c, n.port, tcp == 0);
		say("1000 x\n");
		CU_ASSERT_TRUE(line_is("1000 x"));
		if (!tcp) {
			rig_send_frame(&c, 0x88, "\x03\xe8", 2);
			CU_ASSERT_EQUAL(rig_closed(&c), 1000);
		} else {
			rig_reset(&c);
			c.fd = -1;
		}
		CU_ASSERT_TRUE(RIG_UNTIL(seen.ended == 3));
		CU_ASSERT_EQUAL(seen.closed, 2);
		end();
	}
}

/* ---------------------------------------------------------------- answers */

static void test_answers(void)
{
	begin("ws");
	say("ping 3\n1000 x\nping 2\nping 0\nping 1\n");
	CU_ASSERT_TRUE(line_is("pp"));
	CU_ASSERT_TRUE(line_is("1000 x"));
	CU_ASSERT_TRUE(line_is("p"));
	CU_ASSERT_TRUE(line_is(""));
	CU_ASSERT_TRUE(rig_silent(&c));
	CU_ASSERT_EQUAL(rig_metric(&n, "obhost_client_messages_total"), 1);
	/* long ones too */
	say("ping 32768\n");
	CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&c), c.packets_len == 32768)));
	end();
}

/* A client that asks for answers and reads none is read no further, or closed: what is queued for
 * it stays within its bound. */
static void test_answers_unread(void)
{
	char pings[4096];
	size_t len = 0;

	while (len + 10 < sizeof(pings)) {
		len += (size_t)snprintf(pings + len, sizeof(pings) - len, "ping 100\n");
	}
	begin("tcp");
	size_t most = 0;
	size_t sent = 0;
	for (int i = 0; i < 3000 && seen.ended == 0; i++) {
		sent += (size_t)send(c.fd, pings, len, MSG_DONTWAIT | MSG_NOSIGNAL) <= len;
		rig_turn();
		size_t queued = only_conn() != NULL ? only_conn()->stream.queued : 0;
		most = queued > most ? queued : most;
	}
	CU_ASSERT_TRUE(sent > 1);
	CU_ASSERT_TRUE(most > 16u << 10);
	CU_ASSERT_TRUE(most <= (64u << 10) + (32u << 10));
	CU_ASSERT_TRUE(seen.ended == 1 || (only_conn()->paused & OB__PAUSE_QUEUE) != 0);
	end();

	/* a codec whose answers are out of proportion */
	begin("ws");
	say("1000 x\n");
	CU_ASSERT_TRUE(line_is("1000 x"));
	len = 0;
	while (len + 12 < sizeof(pings)) {
		len += (size_t)snprintf(pings + len, sizeof(pings) - len, "ping 32000\n");
	}
	say(pings);
	CU_ASSERT_EQUAL(rig_closed(&c), 1008);
	CU_ASSERT_EQUAL(closed_for("slow"), 1);
	end();
}

/* The same for WebSocket's own pings. */
static void test_pings_unread(void)
{
	char ping[131] = {(char)0x89, (char)(0x80 | 125)};
	size_t most = 0;

	begin("ws");
	for (int i = 0; i < 60000 && seen.ended == 0; i++) {
		(void)!send(c.fd, ping, sizeof(ping), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (i % 32 == 0) {
			rig_turn();
		}
		size_t queued = only_conn() != NULL ? only_conn()->stream.queued : 0;
		most = queued > most ? queued : most;
	}
	CU_ASSERT_TRUE(most > 16u << 10);
	CU_ASSERT_TRUE(most <= (64u << 10) + (32u << 10));
	end();
}

/* ---------------------------------------------------------------- time */

static void test_wake(void)
{
	begin("tcp");
	uint64_t start_us = ob__loop_hrtime_us();
	again_ms = 50;
	say("wake 100\n1000 x\n");
	CU_ASSERT_TRUE(line_is("1000 x"));
	CU_ASSERT_EQUAL(seen.woken, 0);
	CU_ASSERT_TRUE(line_is("tick 1"));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us >= 99000);
	CU_ASSERT_TRUE(line_is("tick 2"));
	again_ms = 0;
	CU_ASSERT_TRUE(line_is("tick 3"));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us >= 198000);
	CU_ASSERT_TRUE(rig_silent(&c));

	/* once; a later one counts in its place, whether it is sooner or not */
	start_us = ob__loop_hrtime_us();
	say("wake 20\nwake 150\n1000 y\n");
	CU_ASSERT_TRUE(line_is("1000 y"));
	CU_ASSERT_TRUE(line_is("tick 4"));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us >= 149000);
	start_us = ob__loop_hrtime_us();
	say("wake 60000\nwake 20\n");
	CU_ASSERT_TRUE(line_is("tick 5"));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us < 10000000);
	rig_turn_ms(50);
	CU_ASSERT_EQUAL(seen.woken, 5);
	end();
}

/* A connection that begins asks for its times. */
static void test_open_times(void)
{
	begin_with("tcp", "");
	open_wakes_ms = 60;
	uint64_t start_us = ob__loop_hrtime_us();
	rig_connect(&c, n.port, false);
	CU_ASSERT_TRUE(line_is("tick 1"));
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us >= 59000);
	rig_turn_ms(90);
	CU_ASSERT_EQUAL(seen.woken, 1);
	end();

	begin_with("ws", ""); /* 300 s by configuration */
	open_idle_ms = 80;
	rig_connect(&c, n.port, true);
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	CU_ASSERT_EQUAL(closed_for("idle"), 1);
	CU_ASSERT_EQUAL(seen.woken, 0);
	end();

	begin_with("tcp", ""); /* one that is refused has none */
	fault = OPEN_REFUSES;
	open_wakes_ms = 20;
	rig_connect(&c, n.port, false);
	CU_ASSERT_EQUAL(rig_closed(&c), 0);
	rig_turn_ms(60);
	CU_ASSERT_EQUAL(seen.woken, 0);
	end();
}

/* Whoever is read no further because of us is neither woken nor late, and nothing turns round and
 * round meanwhile; when he is read again, what he has sent comes first. */
static void test_held_up(void)
{
	begin("tcp");
	say("wake 60\n1000 x\n");
	CU_ASSERT_TRUE(line_is("1000 x"));
	struct ob__conn *conn = only_conn();
	fault = WAKE_CLOSES; /* as a codec does that has not heard anything for so long */
	ob__conn_pause(conn, OB__PAUSE_DRAIN, true);
	rig_turn_ms(150);
	CU_ASSERT_EQUAL(seen.woken, 0);
	CU_ASSERT_TRUE(conn->stream.timer.entry.expiry > ob__loop_now(n.node->loop));
	conn->wake_at = ob__loop_now(n.node->loop); /* overdue */
	say("wake 60000\n1000 y\n");                /* the sign of life */
	ob__conn_pause(conn, OB__PAUSE_DRAIN, false);
	CU_ASSERT_TRUE(conn->wake_at > ob__loop_now(n.node->loop) + 100);
	CU_ASSERT_TRUE(line_is("1000 y"));
	CU_ASSERT_EQUAL(seen.woken, 0);
	CU_ASSERT_EQUAL(seen.ended, 0);
	/* paused for not reading: that is its own doing */
	say("wake 60\n1000 z\n");
	CU_ASSERT_TRUE(line_is("1000 z"));
	ob__conn_pause(conn, OB__PAUSE_QUEUE, true);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.ended == 1));
	CU_ASSERT_EQUAL(closed_for("no_heartbeat"), 1);
	end();

	begin_with("tcp", ", 'timeout': 0, 'limits': {'first_message': 0.3}");
	rig_connect(&c, n.port, false);
	CU_ASSERT_TRUE(RIG_UNTIL((conn = only_conn()) != NULL && conn->session != NULL));
	ob__conn_pause(conn, OB__PAUSE_LINK, true);
	uint64_t due = conn->session->opened_ms + 300;
	CU_ASSERT_TRUE(RIG_UNTIL(ob__loop_now(n.node->loop) > due + 50));
	CU_ASSERT_EQUAL(seen.ended, 0);
	/* looked at again later, and not in each turn */
	CU_ASSERT_TRUE(conn->stream.timer.entry.expiry > ob__loop_now(n.node->loop) + 50);
	ob__conn_pause(conn, OB__PAUSE_LINK, false);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.ended == 1));
	CU_ASSERT_EQUAL(closed_for("first_message"), 1);
	end();

	begin_with("tcp", ", 'timeout': 0, 'limits': {'first_message': 0.1, 'send_timeout': 0}");
	rig_connect(&c, n.port, false);
	CU_ASSERT_TRUE(RIG_UNTIL((conn = only_conn()) != NULL && conn->session != NULL));
	ob__conn_pause(conn, OB__PAUSE_QUEUE, true);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.ended == 1));
	CU_ASSERT_EQUAL(closed_for("first_message"), 1);
	end();
}

static void test_wake_over_reload(void)
{
	begin("ws");
	say("wake 400\n1000 x\n");
	CU_ASSERT_TRUE(line_is("1000 x"));
	uint64_t at = only_conn()->wake_at;
	CU_ASSERT_TRUE(at != 0);
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(only_conn()->wake_at, at);
	CU_ASSERT_TRUE(line_is("tick 1"));
	CU_ASSERT_EQUAL(only_conn()->wake_at, 0);

	/* the next generation has no use for it */
	say("wake 200\n1000 x\n");
	CU_ASSERT_TRUE(line_is("1000 x"));
	codec.wake = NULL;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(RIG_UNTIL(only_conn()->wake_at == 0));
	CU_ASSERT_EQUAL(seen.woken, 1);
	say("1000 y\n");
	CU_ASSERT_TRUE(line_is("1000 y"));
	end();
}

/* A client that is closed wakes nobody. */
static void test_wake_after_close(void)
{
	begin("tcp");
	say("wake 60\n1000 x\n");
	CU_ASSERT_TRUE(line_is("1000 x"));
	CU_ASSERT_EQUAL(ob_session_close(p.ctx, seen.session, 0, NULL), 0);
	rig_turn_ms(120);
	CU_ASSERT_EQUAL(seen.woken, 0);
	end();
}

static void test_idle(void)
{
	begin("ws"); /* 300 s by configuration */
	uint64_t start_us = ob__loop_hrtime_us();
	say("idle 150\n");
	rig_turn_ms(80);
	say("1000 x\n");
	CU_ASSERT_TRUE(line_is("1000 x"));
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us >= 229000);
	CU_ASSERT_EQUAL(closed_for("idle"), 1);
	CU_ASSERT_TRUE(line_is("bye 1001 idle for too long"));
	end();

	begin_with("ws", ", 'timeout': 0.1");
	rig_connect(&c, n.port, true);
	say("idle 4294967295\n");
	rig_turn_ms(250);
	CU_ASSERT_EQUAL(seen.ended, 0);
	/* waking does not count as a sign of life, nor does it hinder */
	again_ms = 30;
	say("wake 30\nidle 120\n");
	start_us = ob__loop_hrtime_us();
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	CU_ASSERT_TRUE(seen.woken >= 2);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - start_us >= 119000);
	CU_ASSERT_EQUAL(closed_for("idle"), 1);
	end();
}

/* ---------------------------------------------------------------- faults */

static void test_kind_words(void)
{
	static const struct {
		const char *word;
		const char *counted;
	} rows[] = {
		{"wrong_magic", "wrong_magic"},
		{"wrong_magic", "wrong_magic"},
		{"a", "a"},
		{"abcdefghijklmnopqrstuvwxyz_abcd", "abcdefghijklmnopqrstuvwxyz_abcd"}, /* 31 */
		{"abcdefghijklmnopqrstuvwxyz_abcde", "bad_packet"},
		{"", "bad_packet"},
		{"Wrong", "bad_packet"},
		{"a\"b", "bad_packet"},
		{"a1", "bad_packet"},
	};
	char line[64];

	begin("ws");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double before = closed_for(rows[i].counted);
		snprintf(line, sizeof(line), "bad %s\n", rows[i].word);
		say(line);
		CU_ASSERT_EQUAL(rig_closed(&c), 4400);
		CU_ASSERT_STRING_EQUAL(c.close_reason, "that is bad");
		CU_ASSERT_EQUAL(closed_for(rows[i].counted), before < 0 ? 1 : before + 1);
		rig_disconnect(&c);
		rig_connect(&c, n.port, true);
	}
	/* they are not without end */
	CU_ASSERT_EQUAL(n.node->clients.words.len, 3);
	double before = closed_for("bad_packet");
	for (unsigned i = 0; i < OB_CODEC_WORDS_MAX; i++) {
		snprintf(line, sizeof(line), "bad w%c%c\n", 'a' + (int)(i / 26),
		         'a' + (int)(i % 26));
		say(line);
		CU_ASSERT_EQUAL(rig_closed(&c), 4400);
		rig_disconnect(&c);
		rig_connect(&c, n.port, true);
	}
	CU_ASSERT_EQUAL(n.node->clients.words.len, OB_CODEC_WORDS_MAX);
	CU_ASSERT_EQUAL(closed_for("waa"), 1);
	CU_ASSERT_EQUAL(closed_for("bad_packet"), before + 3);
	end();
}

/* A hook that misbehaves costs its client, never the node. */
static void test_faults(void)
{
	static const struct {
		enum fault fault;
		const char *line;
		int code;
		const char *counted;
	} rows[] = {
		{ANSWER_OF_NOTHING, "ping 5\n", 1011, "codec"},
		{ANSWER_TOO_LONG, "ping 5\n", 1011, "codec"},
		{WAKE_CONSUMES, "wake 10\n", 1011, "codec"},
		{WAKE_KIND, "wake 10\n", 1011, "codec"},
		{WAKE_MESSAGE, "wake 10\n", 1011, "codec"},
		{WAKE_CLOSES, "wake 10\n", 4009, "no_heartbeat"},
	};

	begin("ws");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double before = closed_for(rows[i].counted);
		fault = rows[i].fault;
		say(rows[i].line);
		int code = rig_closed(&c);
		CU_ASSERT_EQUAL(code, rows[i].code);
		CU_ASSERT_EQUAL(closed_for(rows[i].counted), before < 0 ? 1 : before + 1);
		if (code != rows[i].code) {
			printf("# row %zu: %d %s\n", i, code, c.close_reason);
		}
		rig_disconnect(&c);
		fault = NONE;
		rig_connect(&c, n.port, true);
		say("1000 a\n");
		CU_ASSERT_TRUE(line_is("1000 a"));
	}
	/* waking as fast as time goes is no more than that */
	again_ms = 1;
	say("wake 1\n");
	rig_turn_ms(200);
	CU_ASSERT_TRUE(seen.woken > 4 && seen.woken < 60);
	end();
}

/* ---------------------------------------------------------------- configuration */

static void test_check(void)
{
	static const struct {
		enum fault fault;
		bool has_check;
		bool has_open;
		const char *more;
		const char *said; /* NULL: it starts */
	} rows[] = {
		{NONE, true, true, "'encode': 1, 'codec_conf': {}", NULL},
		{CHECK_REFUSES, true, true, "'encode': 1",
	         "the codec line does not take it: n is odd"},
		{CHECK_SILENT, true, true, "'encode': 1",
	         "the codec line does not take it: no reason was given"},
		{NONE, false, true, "'encode': 1, 'codec_conf': {}", NULL}, /* open looks at it */
		{NONE, false, false, "'encode': 1", "encode: the codec line knows no encryption"},
		{NONE, false, false, "'codec_conf': {}",
	         "codec_conf: the codec line knows no configuration"},
		{NONE, false, false, "'token': 'of old demo files'", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char conf[200];
		int code = -1;
		prepare();
		fault = rows[i].fault;
		codec.conf_check = rows[i].has_check ? hook_check : NULL;
		codec.open = rows[i].has_open ? hook_open : NULL;
		codec.close = NULL;
		snprintf(conf, sizeof(conf), "'listen': [{" LINE ", %s}],", "tcp", rows[i].more);
		write_conf(conf);
		rig_install("puppet", "puppet");
		rig_install("codec_line", "codec_line");
		if (rows[i].said != NULL) {
			CU_ASSERT_PTR_NULL(rig_start_conf(&n, &code));
			CU_ASSERT_EQUAL(code, 2);
			CU_ASSERT_TRUE(rig_logged("n", rows[i].said));
		} else {
			CU_ASSERT_PTR_NOT_NULL_FATAL(rig_start_conf(&n, &code));
			CU_ASSERT_EQUAL(seen.checked, rows[i].has_check);
			rig_stop(&n);
		}
		rig_end();
	}
}

/* A new generation is asked about the listeners that are there. */
static void test_check_at_reload(void)
{
	begin_with("tcp", ", 'encode': 1");
	rig_connect(&c, n.port, false);
	CU_ASSERT_EQUAL(seen.checked, 1);
	fault = CHECK_REFUSES;
	CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start', 'message': 'start failed: listen: "
	                           "the codec line does not take it: n is odd: an argument makes "
	                           "no sense'}}"));
	fault = NONE;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	CU_ASSERT_EQUAL(seen.checked, 3);
	codec.conf_check = NULL;
	codec.open = NULL;
	CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start'}}"));
	say("1000 a\n");
	CU_ASSERT_TRUE(line_is("1000 a"));
	end();
}

/* A descriptor of a header of before has none of it; one that begins to have open needs a state of
 * another version, as nobody filled in those that are there. */
static void test_before(void)
{
	prepare();
	codec.size = offsetof(ob_codec, arg);
	rig_start(&n, "n", "x",
	          "'listen': [{" LINE "}], 'modules': [{'name': 'puppet', 'conf': "
	          "{'hooks': %ld}}]",
	          "tcp", (long)(intptr_t)&p);
	rig_connect(&c, n.port, false);
	say("1000 a\nwho\n");
	CU_ASSERT_TRUE(line_is("1000 a"));
	CU_ASSERT_TRUE(line_is(",,0,0,0"));
	CU_ASSERT_EQUAL(seen.opened + seen.checked, 0);
	codec.size = sizeof(codec);
	CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start', 'message': 'start failed: codec "
	                           "state version 1 was never opened: a codec that begins to needs "
	                           "a new version: not possible in this state'}}"));
	codec.size = offsetof(ob_codec, arg) - 1;
	CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start'}}"));
	codec.size = offsetof(ob_codec, arg);
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	say("1000 b\n");
	CU_ASSERT_TRUE(line_is("1000 b"));
	CU_ASSERT_EQUAL(ob_session_close(p.ctx, seen.session, 0, NULL), 0);
	CU_ASSERT_EQUAL(rig_closed(&c), 0);
	CU_ASSERT_EQUAL(seen.closed, 0);
	end();
}

static bool keeps_nothing;

static int open_blank(ob_ctx *ctx, void *state, const ob_codec_open *info)
{
	return keeps_nothing ? 0 : hook_open(ctx, state, info);
}

/* Who keeps nothing shares that; a generation for which that is otherwise needs another version. */
static void test_blank(void)
{
	static struct rig_client others[2];
	const void *states[3] = {0};
	const struct ob__conn *conn;
	uint32_t at = 0;
	size_t len = 0;

	prepare();
	codec.flags |= OB_CODEC_BLANK;
	codec.open = open_blank;
	codec.close = NULL;
	keeps_nothing = true;
	rig_start(&n, "n", "x",
	          "'listen': [{" LINE "}], 'modules': [{'name': 'puppet', 'conf': "
	          "{'hooks': %ld}}]",
	          "tcp", (long)(intptr_t)&p);
	rig_connect(&c, n.port, false);
	rig_connect(&others[0], n.port, false);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 2));
	keeps_nothing = false;
	rig_connect(&others[1], n.port, false);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 3));
	while (len < 3 && (conn = ob__slab_next(&n.node->clients.conns, &at)) != NULL) {
		states[len++] = conn->codec_state;
	}
	CU_ASSERT_EQUAL(len, 3);
	CU_ASSERT_PTR_EQUAL(states[0], states[1]);
	CU_ASSERT_PTR_NOT_EQUAL(states[0], states[2]);
	codec.flags &= ~(uint32_t)OB_CODEC_BLANK;
	CU_ASSERT_TRUE(reload(422, "{'error': {'step': 'start', 'message': 'start failed: codec "
	                           "state version 1 is shared where it is blank, or not: a codec "
	                           "that changes that needs a new version: not possible in this "
	                           "state'}}"));
	codec.flags |= OB_CODEC_BLANK;
	CU_ASSERT_TRUE(reload(200, "{'result': 'switched'}"));
	rig_disconnect(&others[0]);
	rig_disconnect(&others[1]);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("codec hooks", NULL, NULL);
	CU_add_test(s, "open", test_open);
	CU_add_test(s, "open refuses", test_open_refuses);
	CU_add_test(s, "packets that need more room", test_more_room);
	CU_add_test(s, "last words", test_last_words);
	CU_add_test(s, "answers", test_answers);
	CU_add_test(s, "answers that nobody reads", test_answers_unread);
	CU_add_test(s, "pings whose answers nobody reads", test_pings_unread);
	CU_add_test(s, "wake", test_wake);
	CU_add_test(s, "times from the beginning", test_open_times);
	CU_add_test(s, "held up", test_held_up);
	CU_add_test(s, "wake over a reload", test_wake_over_reload);
	CU_add_test(s, "wake after a close", test_wake_after_close);
	CU_add_test(s, "how long a client may be silent", test_idle);
	CU_add_test(s, "words that violations are counted under", test_kind_words);
	CU_add_test(s, "hooks that misbehave", test_faults);
	CU_add_test(s, "configuration is checked", test_check);
	CU_add_test(s, "and by a new generation", test_check_at_reload);
	CU_add_test(s, "descriptors of before", test_before);
	CU_add_test(s, "a state that is blank", test_blank);
	return ob__tap_run();
}
