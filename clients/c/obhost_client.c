/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "obhost_client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "obhost_wire.h"

#define READ_SIZE    65536
#define READS_MAX    16 /* in one process(), so that others have their turn */
#define HEAD_MAX     4096u
#define HANDLERS_MAX 64u
#define REASON_MAX   124u
#define LINGER_MS    2000  /* for the last words */
#define GHOST_MS     30000 /* an answer that late is nobody else's */
#define STEADY_MS    5000  /* a connection that lasted so long was a good one */
#define BEATS_MAX    4u    /* heartbeats beyond max_requests and max_queue */

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

/* A message that waits to be sent, or for its answer.  Those that are sent are in that order. */
struct request {
	struct request *next;
	uint32_t id;
	int sent;
	int over; /* its fn has been called; only its answer is still to be swallowed */
	int64_t deadline;
	obhost_answer_fn fn; /* NULL: it has no answer */
	void *arg;
	size_t len;
	uint8_t *data; /* until it is sent */
};

struct handler {
	uint32_t id;
	obhost_push_fn fn;
	void *arg;
};

struct obhost_client {
	obhost_client_options o;
	struct obhost_url url;
	enum obhost_client_state state;
	int fd;
	struct addrinfo *addresses;
	struct addrinfo *address; /* that is being tried */
	int linked;               /* connected; a handshake may be due */
	int opened;               /* there was a connection before */
	int ended;                /* on_close has been called */
	int in_callback;
	unsigned attempts; /* since a good connection */
	int64_t deadline;  /* of the state; -1: none */
	int64_t heard;
	int64_t said;
	int64_t pinged; /* 0: nothing is waited for */
	int64_t beaten; /* when a heartbeat could not be queued */
	int64_t since;  /* it is open */
	struct obhost_wire wire;
	char head[HEAD_MAX]; /* of the handshake's answer */
	size_t head_len;
	char accept[OBHOST_ACCEPT_TEXT];
	uint8_t *out;
	size_t out_at;
	size_t out_len;
	size_t out_cap;
	struct request *first;
	struct request **last;
	uint32_t requests;
	uint32_t ghosts; /* notifications that are sent; not in `requests` */
	size_t waiting;  /* bytes of requests that are not sent */
	struct handler handlers[HANDLERS_MAX];
	size_t handler_count;
	uint64_t random;
	int lost_code; /* what to say of the end */
	char reason[REASON_MAX];
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Not for secrets, only for masks, keys of handshakes and pauses. */
static uint32_t dice(obhost_client *c)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return (uint32_t)(c->random >> 16);
}

static void seed(obhost_client *c)
{
	if (getentropy(&c->random, sizeof(c->random)) != 0 || c->random == 0) {
		c->random = (uint64_t)now_ms() * 0x9e3779b97f4a7c15u + (uint64_t)(uintptr_t)c + 1;
	}
}

const char *obhost_client_strerror(int code)
{
	switch (code) {
	case OBHOST_OK:
		return "ok";
	case OBHOST_E_INVAL:
		return "an argument makes no sense";
	case OBHOST_E_MEMORY:
		return "out of memory";
	case OBHOST_E_FULL:
		return "too much waits to be sent or answered";
	case OBHOST_E_TIMEOUT:
		return "no answer in time";
	case OBHOST_E_LOST:
		return "the connection was lost";
	case OBHOST_E_UNSENT:
		return "there was no connection in time";
	case OBHOST_E_CLOSED:
		return "the client has ended";
	default:
		return "?";
	}
}

/* ---------------------------------------------------------------- what goes out ------------ */

static size_t queued(const obhost_client *c)
{
	return c->out_len - c->out_at;
}

static int out_reserve(obhost_client *c, size_t more)
{
	if (c->out_at > 0) {
		memmove(c->out, c->out + c->out_at, queued(c));
		c->out_len -= c->out_at;
		c->out_at = 0;
	}
	size_t cap = c->out_cap ? c->out_cap : 1024;
	while (cap < c->out_len + more) {
		cap *= 2;
	}
	if (cap == c->out_cap) {
		return 0;
	}
	uint8_t *out = (uint8_t *)realloc(c->out, cap);
	if (!out) {
		return OBHOST_E_MEMORY;
	}
	c->out = out;
	c->out_cap = cap;
	return 0;
}

static void out_add(obhost_client *c, const void *data, size_t len)
{
	if (len > 0) {
		memcpy(c->out + c->out_len, data, len);
		c->out_len += len;
	}
}

/* A frame, or where there are none what would be in it. */
static int out_frame(obhost_client *c, int opcode, const void *head, size_t head_len,
                     const void *data, size_t len)
{
	uint8_t frame[OBHOST_FRAME_HEAD];
	uint8_t mask[4];
	uint32_t random = dice(c);
	int rc = out_reserve(c, OBHOST_FRAME_HEAD + head_len + len);

	if (rc < 0) {
		return rc;
	}
	memcpy(mask, &random, sizeof(mask));
	if (c->url.ws) {
		out_add(c, frame, obhost_frame_head(frame, opcode, head_len + len, mask));
	}
	size_t at = c->out_len;
	out_add(c, head, head_len);
	out_add(c, data, len);
	if (c->url.ws) {
		obhost_frame_mask(c->out + at, head_len + len, 0, mask);
	}
	return 0;
}

static int out_packet(obhost_client *c, uint32_t id, const void *data, size_t len)
{
	uint8_t head[OBHOST_PACKET_HEAD];

	obhost_packet_head(head, id, len);
	return out_frame(c, OBHOST_WS_BINARY, head, sizeof(head), data, len);
}

/* ---------------------------------------------------------------- requests ----------------- */

static int is_ghost(const struct request *r)
{
	return r->over && !r->fn;
}

/* Out of all books; it is the caller's then. */
static struct request *take_request(obhost_client *c, struct request **at)
{
	struct request *r = *at;

	*at = r->next;
	if (c->last == &r->next) {
		c->last = at;
	}
	*(is_ghost(r) ? &c->ghosts : &c->requests) -= 1;
	c->waiting -= r->sent ? 0 : r->len;
	r->next = NULL;
	return r;
}

static void unlink_request(obhost_client *c, struct request **at)
{
	struct request *r = take_request(c, at);

	free(r->data);
	free(r);
}

/* Its one end; the request itself may be gone then. */
static void finish(obhost_client *c, struct request *r, int code, const void *data, size_t len)
{
	obhost_answer_fn fn = r->over ? NULL : r->fn;

	r->over = 1;
	if (fn) {
		c->in_callback++;
		fn(c, code, data, len, r->arg);
		c->in_callback--;
	}
}

/* Those that are sent, or all. */
static void finish_all(obhost_client *c, int code, int unsent_too)
{
	struct request **at = &c->first;
	struct request *all = NULL;
	struct request **end = &all;

	while (*at) { /* out of the list first: callbacks may add to it */
		struct request *r = *at;

		if (!r->sent && !unsent_too) {
			at = &r->next;
			continue;
		}
		*end = take_request(c, at);
		end = &r->next;
	}
	while (all) {
		struct request *r = all;

		all = r->next;
		finish(c, r, code, NULL, 0);
		free(r->data);
		free(r);
	}
}

/* The oldest one that may still be answered with this id. */
static struct request **waiting_for(obhost_client *c, uint32_t id)
{
	for (struct request **at = &c->first; *at; at = &(*at)->next) {
		if ((*at)->id == id && (*at)->sent) {
			return at;
		}
	}
	return NULL;
}

static int send_request(obhost_client *c, struct request *r)
{
	int rc = out_packet(c, r->id, r->data, r->len);

	if (rc == 0) {
		c->waiting -= r->len;
		r->sent = 1;
		free(r->data);
		r->data = NULL;
		c->said = now_ms();
	}
	return rc;
}

/* A notification that was sent: the one answer that it may have is nobody else's.  Of too many the
 * oldest is forgotten. */
static void make_ghost(obhost_client *c, struct request *r)
{
	r->over = 1;
	r->deadline = now_ms() + GHOST_MS;
	c->requests--;
	c->ghosts++;
	for (struct request **at = &c->first; c->ghosts > c->o.max_requests;) {
		if (is_ghost(*at)) {
			unlink_request(c, at);
		} else {
			at = &(*at)->next;
		}
	}
}

static struct request **first_unsent(obhost_client *c)
{
	struct request **at = &c->first;

	while (*at && (*at)->sent) {
		at = &(*at)->next;
	}
	return at;
}

/* What has waited for a connection.  Each moves to the end, where those are that were sent last. */
static void send_waiting(obhost_client *c)
{
	struct request **at = first_unsent(c);

	while (*at && c->state == OBHOST_OPEN && send_request(c, *at) == 0) {
		struct request *r = *at;

		*c->last = r;
		c->last = &r->next;
		*at = r->next;
		r->next = NULL;
		if (!r->fn) {
			make_ghost(c, r);
		}
		at = first_unsent(c);
	}
}

static struct request *new_request(obhost_client *c, uint32_t id, const void *data, size_t len)
{
	struct request *r = (struct request *)calloc(1, sizeof(*r));
	uint8_t *copy = (uint8_t *)malloc(len ? len : 1);

	if (!r || !copy) {
		free(r);
		free(copy);
		return NULL;
	}
	if (len) {
		memcpy(copy, data, len);
	}
	r->id = id;
	r->data = copy;
	r->len = len;
	*c->last = r;
	c->last = &r->next;
	c->requests++;
	c->waiting += len;
	return r;
}

static void beat_answered(obhost_client *c, int code, const void *data, size_t len, void *arg)
{
	(void)c;
	(void)code;
	(void)data;
	(void)len;
	(void)arg;
}

/* Heartbeats have a little room of their own. */
static int is_full(const obhost_client *c, size_t len, int beat)
{
	uint64_t requests = (uint64_t)c->o.max_requests + (beat ? BEATS_MAX : 0);
	size_t more = beat ? BEATS_MAX * (OBHOST_PACKET_HEAD + len) : 0;
	size_t all = queued(c) + c->waiting + len + OBHOST_PACKET_HEAD;

	return c->requests >= requests || (all > more && all - more > c->o.max_queue);
}

static int submit(obhost_client *c, uint32_t id, const void *data, size_t len, uint32_t ms,
                  obhost_answer_fn fn, void *arg)
{
	if (!c || id < 1 || id > INT32_MAX || (len && !data) ||
	    len > c->o.max_message - OBHOST_PACKET_HEAD) {
		return OBHOST_E_INVAL;
	}
	if (c->state >= OBHOST_CLOSING) {
		return OBHOST_E_CLOSED;
	}
	if (is_full(c, len, fn == beat_answered)) {
		return OBHOST_E_FULL;
	}
	struct request **at = c->last;
	struct request *r = new_request(c, id, data, len);
	if (!r) {
		return OBHOST_E_MEMORY;
	}
	r->fn = fn;
	r->arg = arg;
	r->deadline = now_ms() + (ms ? ms : c->o.request_ms);
	if (c->state == OBHOST_OPEN && send_request(c, r) < 0) {
		unlink_request(c, at);
		return OBHOST_E_MEMORY;
	}
	if (r->sent && !fn) {
		make_ghost(c, r);
	}
	return 0;
}

int obhost_client_request(obhost_client *c, uint32_t id, const void *data, size_t len, uint32_t ms,
                          obhost_answer_fn fn, void *arg)
{
	return fn ? submit(c, id, data, len, ms, fn, arg) : OBHOST_E_INVAL;
}

int obhost_client_notify(obhost_client *c, uint32_t id, const void *data, size_t len)
{
	return submit(c, id, data, len, 0, NULL, NULL);
}

int obhost_client_on(obhost_client *c, uint32_t id, obhost_push_fn fn, void *arg)
{
	size_t i = 0;

	if (!c || id < 1 || id > INT32_MAX) {
		return OBHOST_E_INVAL;
	}
	while (i < c->handler_count && c->handlers[i].id != id) {
		i++;
	}
	if (!fn) {
		if (i < c->handler_count) {
			c->handlers[i] = c->handlers[--c->handler_count];
		}
		return 0;
	}
	if (i == HANDLERS_MAX) {
		return OBHOST_E_FULL;
	}
	c->handler_count += i == c->handler_count;
	c->handlers[i].id = id;
	c->handlers[i].fn = fn;
	c->handlers[i].arg = arg;
	return 0;
}

/* ---------------------------------------------------------------- connections -------------- */

static void hang_up(obhost_client *c)
{
	if (c->fd >= 0) {
		close(c->fd);
	}
	c->fd = -1;
	c->linked = 0;
	c->out_at = 0;
	c->out_len = 0;
	c->head_len = 0;
	c->pinged = 0;
	c->beaten = 0;
	obhost_wire_free(&c->wire);
	if (c->addresses) {
		freeaddrinfo(c->addresses);
		c->addresses = NULL;
	}
}

static void why(obhost_client *c, int code, const char *reason, size_t len)
{
	size_t n = len < REASON_MAX ? len : REASON_MAX - 1;

	c->lost_code = code;
	memcpy(c->reason, reason, n);
	c->reason[n] = '\0';
}

/* For good. */
static void end(obhost_client *c)
{
	hang_up(c);
	c->state = OBHOST_ENDED;
	c->deadline = -1;
	finish_all(c, OBHOST_E_CLOSED, 1);
	if (!c->ended) {
		c->ended = 1;
		if (c->o.on_close) {
			c->in_callback++;
			c->o.on_close(c, c->lost_code, c->reason, c->o.arg);
			c->in_callback--;
		}
	}
}

/* Half of a time that grows, and a random part of the other half. */
static uint32_t pause_ms(obhost_client *c)
{
	uint64_t ms = c->o.backoff_min_ms;

	for (unsigned i = 0; i < c->attempts && ms < c->o.backoff_max_ms; i++) {
		ms *= 2;
	}
	ms = ms < c->o.backoff_max_ms ? ms : c->o.backoff_max_ms;
	c->attempts++;
	return (uint32_t)(ms / 2 + dice(c) % (ms - ms / 2 + 1));
}

/* A login elsewhere and a kick are meant. */
static int is_final(int code)
{
	return code == 4001 || code == 4003;
}

static void lost(obhost_client *c, int code, const char *reason)
{
	if (c->state == OBHOST_CLOSING) { /* it has its reason */
		end(c);
		return;
	}
	why(c, code, reason, strlen(reason));
	if (is_final(code)) {
		end(c);
		return;
	}
	if (c->state == OBHOST_OPEN && now_ms() - c->since >= STEADY_MS) {
		c->attempts = 0;
	}
	uint32_t retry = pause_ms(c);
	hang_up(c);
	c->state = OBHOST_WAITING;
	c->deadline = now_ms() + retry;
	finish_all(c, OBHOST_E_LOST, 0);
	if (c->o.on_lost && c->state == OBHOST_WAITING) {
		c->in_callback++;
		c->o.on_lost(c, c->lost_code, c->reason, retry, c->o.arg);
		c->in_callback--;
	}
}

static void opened(obhost_client *c)
{
	c->state = OBHOST_OPEN;
	c->deadline = -1;
	c->heard = c->said = c->since = now_ms();
	if (c->o.on_open) {
		c->in_callback++;
		c->o.on_open(c, c->opened, c->o.arg);
		c->in_callback--;
	}
	c->opened = 1;
	send_waiting(c);
}

static int say_hello(obhost_client *c)
{
	uint8_t random[16];
	char key[OBHOST_KEY_TEXT];
	char text[1200];

	for (size_t i = 0; i < sizeof(random); i++) {
		random[i] = (uint8_t)dice(c);
	}
	obhost_key_text(random, key);
	obhost_accept_text(key, c->accept);
	int n = snprintf(text, sizeof(text),
	                 "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
	                 "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
	                 "Sec-WebSocket-Version: 13\r\n\r\n",
	                 c->url.path, c->url.authority, key);
	int rc = out_reserve(c, (size_t)n);
	if (rc == 0) {
		out_add(c, text, (size_t)n);
	}
	return rc;
}

static void linked(obhost_client *c)
{
	int one = 1;

	c->linked = 1;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	obhost_wire_init(&c->wire, c->url.ws, c->o.max_message);
	if (!c->url.ws) {
		opened(c);
	} else if (say_hello(c) < 0) {
		lost(c, 1006, "out of memory");
	}
}

/* The next address; those that fail at once are passed by. */
static void try_address(obhost_client *c, const char *problem)
{
	if (c->fd >= 0) {
		close(c->fd);
		c->fd = -1;
	}
	for (; c->address; c->address = c->address->ai_next) {
		const struct addrinfo *a = c->address;

		c->fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (c->fd < 0) {
			problem = strerror(errno);
			continue;
		}
		(void)fcntl(c->fd, F_SETFD, FD_CLOEXEC);
		(void)fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
		if (connect(c->fd, a->ai_addr, a->ai_addrlen) == 0) {
			linked(c);
			return;
		}
		if (errno == EINPROGRESS) {
			return;
		}
		problem = strerror(errno);
		close(c->fd);
		c->fd = -1;
	}
	lost(c, 1006, problem);
}

static void dial(obhost_client *c)
{
	struct addrinfo hints;

	memset(&hints, 0, sizeof(hints));
	hints.ai_socktype = SOCK_STREAM;
	c->state = OBHOST_CONNECTING;
	c->deadline = now_ms() + c->o.connect_ms;
	int rc = getaddrinfo(c->url.host, c->url.port, &hints, &c->addresses);
	if (rc != 0) {
		c->addresses = NULL;
		lost(c, 1006, gai_strerror(rc));
		return;
	}
	c->address = c->addresses;
	try_address(c, "no address");
}

/* A connection is there, or failed. */
static void dialled(obhost_client *c)
{
	int code = 0;
	socklen_t len = sizeof(code);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0) {
		code = errno;
	}
	if (code == 0) {
		linked(c);
		return;
	}
	c->address = c->address->ai_next;
	try_address(c, strerror(code));
}

/* ---------------------------------------------------------------- what comes in ------------ */

static void push(obhost_client *c, uint32_t id, const uint8_t *data, size_t len)
{
	obhost_push_fn fn = c->o.on_push;
	void *arg = c->o.arg;

	for (size_t i = 0; i < c->handler_count; i++) {
		if (c->handlers[i].id == id) {
			fn = c->handlers[i].fn;
			arg = c->handlers[i].arg;
			break;
		}
	}
	if (fn) {
		c->in_callback++;
		fn(c, id, data, len, arg);
		c->in_callback--;
	}
}

static int on_packet(void *arg, uint32_t id, const uint8_t *data, size_t len)
{
	obhost_client *c = (obhost_client *)arg;
	struct request **at = waiting_for(c, id);

	c->attempts = 0; /* there is more than a door */
	if (at) {
		struct request *r = take_request(c, at); /* the callback may ask again */

		finish(c, r, OBHOST_OK, data, len);
		free(r);
	} else {
		push(c, id, data, len);
	}
	return c->state != OBHOST_OPEN;
}

static int on_control(void *arg, int opcode, const uint8_t *data, size_t len)
{
	obhost_client *c = (obhost_client *)arg;

	if (opcode == OBHOST_WS_PING && queued(c) < c->o.max_queue) {
		(void)out_frame(c, OBHOST_WS_PONG, NULL, 0, data, len);
	}
	if (opcode != OBHOST_WS_CLOSE) {
		return 0;
	}
	int code = len >= 2 ? data[0] << 8 | data[1] : 1005;
	why(c, code, len > 2 ? (const char *)data + 2 : "", len > 2 ? len - 2 : 0);
	return 1;
}

/* The handshake's answer; how many of the bytes belong to it, -1: it has failed. */
static long read_hello(obhost_client *c, const uint8_t *data, size_t len)
{
	size_t had = c->head_len;
	size_t take = HEAD_MAX - had < len ? HEAD_MAX - had : len;

	memcpy(c->head + had, data, take);
	c->head_len += take;
	size_t at = obhost_head_end(c->head, c->head_len);
	if (at == 0) {
		if (c->head_len == HEAD_MAX) {
			lost(c, 1002, "the server's handshake is too long");
			return -1;
		}
		return (long)take;
	}
	const char *problem = obhost_head_problem(c->head, at, c->accept);
	if (problem) {
		lost(c, 1002, problem);
		return -1;
	}
	opened(c);
	return (long)(at - had);
}

/* Says why, as far as that can still be said, and goes. */
static void farewell(obhost_client *c, int code, const char *reason)
{
	uint8_t words[2] = {(uint8_t)(code >> 8), (uint8_t)code};
	size_t len = code == 1005 ? 0 : 2;

	if (c->url.ws && queued(c) == 0 &&
	    out_frame(c, OBHOST_WS_CLOSE, words, len, NULL, 0) == 0) {
		(void)!send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	lost(c, code, reason);
}

static void take_in(obhost_client *c, const uint8_t *data, size_t len)
{
	struct obhost_wire_sink sink = {on_packet, on_control, c};

	if (c->state == OBHOST_CONNECTING) {
		long used = read_hello(c, data, len);

		if (used < 0 || c->state != OBHOST_OPEN) {
			return;
		}
		data += used;
		len -= (size_t)used;
	}
	c->heard = now_ms();
	c->pinged = 0;
	if (len == 0) {
		return;
	}
	int rc = obhost_wire_feed(&c->wire, data, len, &sink);
	if (rc < 0) {
		farewell(c, c->wire.code, c->wire.problem);
	} else if (rc > 0 && c->state == OBHOST_OPEN) { /* a close frame */
		char reason[REASON_MAX];

		snprintf(reason, sizeof(reason), "%s", c->reason);
		farewell(c, c->lost_code, reason);
	}
}

static int would_block(int code)
{
#if EAGAIN != EWOULDBLOCK
	if (code == EWOULDBLOCK) {
		return 1;
	}
#endif
	return code == EAGAIN;
}

static void read_some(obhost_client *c)
{
	static const char gone[] = "the server has gone";
	uint8_t data[READ_SIZE];

	for (int i = 0; i < READS_MAX && c->fd >= 0; i++) {
		ssize_t n = recv(c->fd, data, sizeof(data), 0);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && would_block(errno)) {
			return;
		}
		if (n <= 0) {
			lost(c, 1006, n < 0 ? strerror(errno) : gone);
			return;
		}
		if (c->state == OBHOST_CLOSING) {
			continue; /* nobody listens any more */
		}
		take_in(c, data, (size_t)n);
	}
}

static void write_some(obhost_client *c)
{
	while (c->fd >= 0 && queued(c) > 0) {
		ssize_t n = send(c->fd, c->out + c->out_at, queued(c), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && would_block(errno)) {
			return;
		}
		if (n < 0) {
			lost(c, 1006, strerror(errno));
			return;
		}
		c->out_at += (size_t)n;
	}
	if (c->fd >= 0 && c->state == OBHOST_CLOSING) {
		(void)shutdown(c->fd, SHUT_WR); /* then the other side closes */
	}
}

/* ---------------------------------------------------------------- time --------------------- */

static int beats(const obhost_client *c)
{
	return c->state == OBHOST_OPEN && c->o.heartbeat_ms != UINT32_MAX &&
	       (c->url.ws || c->o.heartbeat_id != 0);
}

/* When the next heartbeat is due, or the last one has had no answer; -1: never. */
static int64_t beat_at(const obhost_client *c)
{
	if (!beats(c)) {
		return -1;
	}
	int64_t quiet = c->heard < c->said ? c->heard : c->said;

	quiet = quiet > c->beaten ? quiet : c->beaten;
	return (c->pinged ? c->pinged : quiet) + c->o.heartbeat_ms;
}

static void beat(obhost_client *c, int64_t now)
{
	if (!beats(c) || now < beat_at(c)) {
		return;
	}
	if (c->pinged) {
		lost(c, 1006, "the server is silent");
		return;
	}
	int rc = c->url.ws ? out_frame(c, OBHOST_WS_PING, NULL, 0, NULL, 0)
	                   : submit(c, c->o.heartbeat_id, "{}", 2, 0, beat_answered, NULL);
	if (rc < 0) {
		c->beaten = now;
		return;
	}
	c->said = now;
	c->pinged = now;
}

/* Requests whose time is over. */
static void expire(obhost_client *c, int64_t now)
{
	struct request **at = &c->first;

	while (*at) {
		struct request *r = *at;

		if (now < r->deadline) {
			at = &r->next;
			continue;
		}
		if (r->over || !r->sent || !r->fn) {
			int code = OBHOST_E_UNSENT;
			struct request copy = *r;

			unlink_request(c, at);
			finish(c, &copy, code, NULL, 0);
		} else {
			r->deadline = now + GHOST_MS;
			finish(c, r, OBHOST_E_TIMEOUT, NULL, 0);
		}
		at = &c->first; /* the callback may have changed the list */
	}
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

int obhost_client_timeout(const obhost_client *c)
{
	int64_t at = sooner(c->deadline, beat_at(c));

	for (const struct request *r = c->first; r; r = r->next) {
		at = sooner(at, r->deadline);
	}
	if (at < 0) {
		return -1;
	}
	int64_t ms = at - now_ms();
	return ms < 0 ? 0 : ms > INT_MAX ? INT_MAX : (int)ms;
}

static void state_due(obhost_client *c)
{
	switch (c->state) {
	case OBHOST_WAITING:
		dial(c);
		break;
	case OBHOST_CONNECTING:
		lost(c, 1006, "no connection in time");
		break;
	case OBHOST_CLOSING:
		end(c);
		break;
	default:
		break;
	}
}

/* ---------------------------------------------------------------- the client --------------- */

static void defaults(obhost_client_options *o)
{
	o->connect_ms = o->connect_ms ? o->connect_ms : 10000;
	o->request_ms = o->request_ms ? o->request_ms : 5000;
	o->heartbeat_ms = o->heartbeat_ms ? o->heartbeat_ms : 15000;
	o->backoff_min_ms = o->backoff_min_ms ? o->backoff_min_ms : 500;
	o->backoff_max_ms = o->backoff_max_ms ? o->backoff_max_ms : 30000;
	o->max_requests = o->max_requests ? o->max_requests : 256;
	o->max_message = o->max_message ? o->max_message : 1u << 20;
	o->max_queue = o->max_queue ? o->max_queue : 1u << 20;
	o->max_message = o->max_message > 64 ? o->max_message : 64;
	o->max_message = o->max_message < INT32_MAX ? o->max_message : INT32_MAX;
}

obhost_client *obhost_client_new(const obhost_client_options *options)
{
	if (!options || options->size < offsetof(obhost_client_options, arg) || !options->url) {
		return NULL;
	}
	obhost_client *c = (obhost_client *)calloc(1, sizeof(*c));
	if (!c) {
		return NULL;
	}
	memcpy(&c->o, options, options->size < sizeof(c->o) ? options->size : sizeof(c->o));
	c->last = &c->first;
	c->fd = -1;
	c->state = OBHOST_WAITING;
	c->deadline = now_ms();
	defaults(&c->o);
	seed(c);
	if (obhost_url_parse(&c->url, options->url) < 0) {
		free(c);
		return NULL;
	}
	c->o.url = NULL; /* whose text is the caller's */
	return c;
}

void obhost_client_free(obhost_client *c)
{
	if (!c) {
		return;
	}
	hang_up(c);
	c->state = OBHOST_ENDED;
	finish_all(c, OBHOST_E_CLOSED, 1);
	free(c->out);
	free(c);
}

void obhost_client_close(obhost_client *c, int code, const char *reason)
{
	size_t len = reason ? strlen(reason) : 0;

	if (c->state >= OBHOST_CLOSING) {
		return;
	}
	code = code >= 1000 && code <= 4999 ? code : 1000;
	len = len < REASON_MAX ? len : REASON_MAX - 1;
	why(c, code, reason ? reason : "", len);
	uint8_t words[2] = {(uint8_t)(code >> 8), (uint8_t)code};
	int open = c->state == OBHOST_OPEN;
	c->state = OBHOST_CLOSING;
	c->deadline = now_ms() + (open ? LINGER_MS : 0);
	if (open && c->url.ws) {
		(void)out_frame(c, OBHOST_WS_CLOSE, words, 2, c->reason, len);
	}
}

int obhost_client_state(const obhost_client *c)
{
	return c->state;
}

int obhost_client_fd(const obhost_client *c)
{
	return c->fd;
}

short obhost_client_events(const obhost_client *c)
{
	short events = 0;

	if (c->fd >= 0) {
		events = c->linked ? POLLIN : POLLOUT;
		events |= queued(c) > 0 ? POLLOUT : 0;
	}
	return events;
}

static void do_io(obhost_client *c)
{
	struct pollfd p = {c->fd, obhost_client_events(c), 0};

	if (c->fd < 0 || poll(&p, 1, 0) <= 0) {
		return;
	}
	if (!c->linked) {
		dialled(c);
	} else if (p.revents & (POLLIN | POLLERR | POLLHUP)) {
		read_some(c);
	}
}

int obhost_client_process(obhost_client *c)
{
	if (c->in_callback) {
		return OBHOST_E_INVAL;
	}
	if (c->state == OBHOST_CLOSING && c->first) {
		finish_all(c, OBHOST_E_CLOSED, 1);
	}
	if (c->state == OBHOST_CLOSING && !c->linked) {
		end(c);
	}
	do_io(c);
	int64_t now = now_ms();
	if (c->deadline >= 0 && now >= c->deadline) {
		state_due(c);
	}
	beat(c, now);
	expire(c, now);
	if (c->linked) {
		write_some(c);
	}
	return c->state == OBHOST_ENDED ? OBHOST_E_CLOSED : 0;
}

int obhost_client_poll(obhost_client *c, int ms)
{
	int due = obhost_client_timeout(c);
	struct pollfd p = {obhost_client_fd(c), obhost_client_events(c), 0};

	if (due >= 0 && (ms < 0 || due < ms)) {
		ms = due;
	}
	if (c->state != OBHOST_ENDED) {
		(void)poll(&p, 1, ms);
	}
	return obhost_client_process(c);
}
