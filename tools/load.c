/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "tools/load_priv.h"

#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/seedpkt.h"
#include "tools/wsclient.h"

#define SECOND UINT64_C(1000000000)

enum {
	EVENTS = 1024,
	CONNECTS = 256,       /* handshakes under way at once */
	CONNECT_SECONDS = 10, /* without any progress */
	STALL_SECONDS = 10,   /* without any reply, when only a total ends the run */
	DRAIN_SECONDS = 3,    /* without an answer */
	DRAIN_MOST = 60,
	CLOSE_SECONDS = 1,
	PIECE_NS = 1000000,   /* between two turns of pieces */
	RING_CELLS = 1 << 27, /* over all connections, 8 bytes each */
	HEAP_KEPT = 32 << 20, /* bytes the allocator keeps, so that large bodies stay cheap */
};

/* One phase of a run. */
struct phase {
	uint64_t end;   /* ns; no phase goes on for ever */
	bool to_total;  /* ends when all messages are answered, or none comes any more */
	bool to_empty;  /* ends when nothing is owed */
	bool scheduled; /* open loop: messages become due */
	uint64_t epoch; /* of the schedule */
};

/* ---- one turn of the loop ---- */

static int wait_events(struct ob__load *l, struct epoll_event *ev, uint64_t ns)
{
#ifdef SYS_epoll_pwait2
	struct timespec ts = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};

	if (!l->coarse) {
		long n = syscall(SYS_epoll_pwait2, l->epfd, ev, EVENTS, &ts, NULL, 0);
		if (n >= 0 || errno != ENOSYS) {
			return (int)n;
		}
		l->coarse = true;
	}
#endif
	return epoll_wait(l->epfd, ev, EVENTS, (int)(ns / 1000000));
}

static void turn(struct ob__load *l, uint64_t now, uint64_t until)
{
	struct epoll_event ev[EVENTS];
	uint64_t ns = until > now ? until - now : 0;
	int n = wait_events(l, ev, ns < SECOND ? ns : SECOND);

	for (int i = 0; i < n; i++) {
		ob__load_conn_event(l, ev[i].data.ptr, ev[i].events);
	}
}

/* ---- phases ---- */

static uint64_t due_at(const struct ob__load *l, uint64_t epoch, uint64_t k)
{
	return epoch + (uint64_t)((double)k * (double)SECOND / l->opts->rate);
}

static bool all_due(const struct ob__load *l)
{
	return l->opts->total && l->schedule >= l->opts->total;
}

/* Queues what is due by now, then sends once per connection. When the next one is due. */
static uint64_t run_schedule(struct ob__load *l, const struct phase *p, uint64_t now)
{
	uint64_t first = l->schedule;
	uint64_t due = due_at(l, p->epoch, l->schedule);
	unsigned conns = l->opts->conns;

	while (due <= now && due < p->end && !all_due(l)) {
		if (!ob__load_conn_queue(l, &l->conns[l->schedule % conns], due)) {
			l->report->overrun++;
		}
		l->schedule++;
		due = due_at(l, p->epoch, l->schedule);
	}
	uint64_t last = l->schedule - first > conns ? first + conns : l->schedule;
	for (uint64_t k = first; k < last; k++) {
		ob__load_conn_send(l, &l->conns[k % conns]);
	}
	return all_due(l) ? p->end : due;
}

/* Lets each connection give a piece every `pieces` ms: some of them in each turn. When to go on. */
static uint64_t run_pieces(struct ob__load *l, uint64_t now)
{
	unsigned conns = l->opts->conns;
	double most = conns;

	if (now < l->piece_ns) {
		return l->piece_ns;
	}
	double ms = l->piece_ns ? (double)(now - l->piece_ns) / 1e6 + 1 : 1;
	l->pieces_due += conns * ms / l->opts->pieces;
	l->pieces_due = l->pieces_due < most ? l->pieces_due : most;
	for (; l->pieces_due >= 1; l->pieces_due -= 1) {
		l->random ^= l->random << 13;
		l->random ^= l->random >> 7;
		l->random ^= l->random << 17;
		ob__load_conn_piece(l, &l->conns[l->piece_at],
		                    1 + (size_t)(l->random % (l->frame_len / 2)));
		l->piece_at = (l->piece_at + 1) % conns;
	}
	l->piece_ns = now + PIECE_NS;
	return l->piece_ns;
}

static bool phase_over(const struct ob__load *l, const struct phase *p, uint64_t now,
                       const volatile int *stop)
{
	if (now >= p->end || !l->alive || (*stop && !p->to_empty)) {
		return true;
	}
	if (p->to_empty) {
		return !l->owed;
	}
	uint64_t asked = l->opts->rate > 0 ? l->schedule : l->queued;
	return p->to_total && ((asked >= l->opts->total && !l->owed) ||
	                       (l->owed && now > l->last_reply_ns + STALL_SECONDS * SECOND));
}

static void run_phase(struct ob__load *l, const struct phase *p, const volatile int *stop)
{
	for (;;) {
		uint64_t now = ob__load_now();
		uint64_t until = p->end;
		if (phase_over(l, p, now, stop)) {
			return;
		}
		if (p->scheduled) {
			uint64_t due = run_schedule(l, p, now);
			until = due < until ? due : until;
			if (phase_over(l, p, now, stop)) {
				return;
			}
		}
		if (l->opts->pieces > 0) {
			uint64_t next = run_pieces(l, now);
			until = next < until ? next : until;
		}
		turn(l, now, until);
	}
}

/* ---- what processes used ---- */

static void use_sub(struct ob__proc_use *use, const struct ob__proc_use *before)
{
	use->user_us -= before->user_us;
	use->sys_us -= before->sys_us;
	use->switches -= before->switches;
}

static void read_uses(const struct ob__load *l, struct ob__proc_use *self,
                      struct ob__load_server *servers)
{
	ob__proc_self(self);
	for (unsigned i = 0; i < l->opts->npids; i++) {
		servers[i].known = ob__proc_read(l->opts->pids[i], &servers[i].use) == 0;
	}
}

static void measure(struct ob__load *l, struct phase *p, const volatile int *stop)
{
	struct ob__load_report *r = l->report;
	struct ob__load_server before[OB__LOAD_MAX_PIDS];
	struct ob__proc_use self;

	read_uses(l, &self, before);
	l->from_ns = ob__load_now();
	l->measuring = true;
	p->to_total = l->opts->total;
	p->end = l->opts->seconds > 0 ? l->from_ns + (uint64_t)(l->opts->seconds * (double)SECOND)
	                              : UINT64_MAX;
	run_phase(l, p, stop);
	l->measuring = false;
	uint64_t end = p->to_total && !l->owed ? l->last_reply_ns : ob__load_now();
	r->elapsed = end > l->from_ns ? (double)(end - l->from_ns) / (double)SECOND : 0;
	read_uses(l, &r->self, r->server);
	use_sub(&r->self, &self);
	for (unsigned i = 0; i < l->opts->npids; i++) {
		r->server[i].known = r->server[i].known && before[i].known;
		use_sub(&r->server[i].use, &before[i].use);
	}
}

/* Waits for what is owed as long as any of it keeps coming. */
static void drain(struct ob__load *l, const volatile int *stop)
{
	uint64_t most = ob__load_now() + DRAIN_MOST * SECOND;
	uint64_t seen;

	do {
		seen = l->last_reply_ns;
		struct phase p = {.end = ob__load_now() + DRAIN_SECONDS * SECOND, .to_empty = true};
		run_phase(l, &p, stop);
	} while (l->owed && l->last_reply_ns != seen && ob__load_now() < most);
}

static void run_load(struct ob__load *l, const volatile int *stop)
{
	uint64_t now = ob__load_now();
	bool open_loop = l->opts->rate > 0;
	struct phase p = {.scheduled = open_loop, .epoch = now};

	l->last_reply_ns = now;
	l->sending = !open_loop;
	if (l->opts->warmup > 0) {
		for (unsigned i = 0; l->sending && i < l->opts->conns; i++) {
			ob__load_conn_fill(l, &l->conns[i], now);
		}
		p.end = now + (uint64_t)(l->opts->warmup * (double)SECOND);
		run_phase(l, &p, stop);
	}
	for (unsigned i = 0; l->sending && i < l->opts->conns; i++) {
		ob__load_conn_fill(l, &l->conns[i], ob__load_now());
	}
	measure(l, &p, stop);
	l->sending = false;
	l->report->interrupted = *stop;
	drain(l, stop);
}

/* ---- connecting ---- */

static int fail(struct ob__load *l, const char *what, const char *why)
{
	snprintf(l->report->why, sizeof(l->report->why), "%s: %s", what, why);
	return -1;
}

static int new_socket(const struct addrinfo *ai, int flags)
{
	int one = 1;
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | flags, ai->ai_protocol);

	if (fd >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	return fd;
}

/* The address of the list that can be connected to, and that first connection in *fd. */
static const struct addrinfo *first_connect(const struct addrinfo *list, int *fd)
{
	struct timeval limit = {.tv_sec = CONNECT_SECONDS};
	int err = 0;

	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		*fd = new_socket(ai, 0);
		if (*fd < 0) {
			err = errno;
			continue;
		}
		setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (connect(*fd, ai->ai_addr, ai->ai_addrlen) == 0) {
			int on = 1;
			ioctl(*fd, FIONBIO, &on);
			return ai;
		}
		err = errno == EINPROGRESS ? ETIMEDOUT : errno;
		close(*fd);
	}
	errno = err;
	return NULL;
}

static int start_next(struct ob__load *l, const struct addrinfo *ai)
{
	int fd = new_socket(ai, SOCK_NONBLOCK);

	if (fd < 0) {
		return fail(l, "socket", strerror(errno));
	}
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS) {
		int err = errno;
		close(fd);
		return fail(l, "connect", strerror(err));
	}
	if (ob__load_conn_start(l, &l->conns[l->started++], fd) < 0) {
		return fail(l, "connection", "out of memory");
	}
	return 0;
}

/* How many connections may have been started by now. */
static unsigned may_start(const struct ob__load *l, uint64_t begin, uint64_t now)
{
	unsigned limit = l->measuring_back ? ob__load_all(l) : l->opened + CONNECTS;

	if (l->opts->ramp > 0) {
		double n = 1 + (double)(now - begin) / (double)SECOND * l->opts->ramp;
		limit = n < limit ? (unsigned)n : limit;
	}
	return limit < ob__load_all(l) ? limit : ob__load_all(l);
}

/* Connections that were started go on; -1 when one has failed, or none has for too long. */
static int connect_turn(struct ob__load *l, uint64_t wait, uint64_t *progress,
                        const volatile int *stop)
{
	unsigned before = l->asked + l->opened;
	uint64_t now = ob__load_now();

	if (*stop) {
		return fail(l, "connect", "interrupted");
	}
	turn(l, now, now + wait);
	if (l->report->broken) {
		return -1;
	}
	if (l->asked + l->opened != before) {
		*progress = now;
	}
	if (l->opened < l->started && now > *progress + CONNECT_SECONDS * SECOND) {
		return fail(l, "handshake", "no answer in 10 seconds");
	}
	return 0;
}

static int connect_rest(struct ob__load *l, const struct addrinfo *ai, double *seconds,
                        const volatile int *stop)
{
	uint64_t begin = ob__load_now();
	uint64_t progress = begin;

	while (l->opened < ob__load_all(l)) {
		uint64_t now = ob__load_now();
		for (unsigned n = may_start(l, begin, now); l->started < n;) {
			if (start_next(l, ai) < 0) {
				return -1;
			}
			progress = now;
		}
		if (connect_turn(l, l->started < ob__load_all(l) ? SECOND / 1000 : SECOND / 10,
		                 &progress, stop) < 0) {
			return -1;
		}
	}
	*seconds = (double)(ob__load_now() - begin) / (double)SECOND;
	return 0;
}

/* ---- connecting while the servers are stopped ---- */

static void tell_servers(const struct ob__load *l, int signal)
{
	for (unsigned i = 0; i < l->opts->npids; i++) {
		kill(l->opts->pids[i], signal);
	}
}

static int wait_for(struct ob__load *l, const unsigned *what, unsigned count,
                    const volatile int *stop)
{
	uint64_t progress = ob__load_now();

	while (*what < count) {
		if (connect_turn(l, SECOND / 10, &progress, stop) < 0) {
			return -1;
		}
	}
	return 0;
}

/* As many as are to be started are there, and have asked. */
static int queue_batch(struct ob__load *l, const struct addrinfo *ai, unsigned all,
                       const volatile int *stop)
{
	while (l->started < all) {
		if (start_next(l, ai) < 0) {
			return -1;
		}
	}
	return wait_for(l, &l->asked, all, stop);
}

static double servers_us(const struct ob__load *l)
{
	struct ob__proc_use use;
	double us = 0;

	for (unsigned i = 0; i < l->opts->npids; i++) {
		us += ob__proc_read(l->opts->pids[i], &use) == 0 ? use.user_us + use.sys_us : 0;
	}
	return us;
}

static int connect_batches(struct ob__load *l, const struct addrinfo *ai, const volatile int *stop)
{
	struct ob__load_report *r = l->report;

	if (wait_for(l, &l->opened, l->started, stop) < 0) {
		return -1;
	}
	unsigned first = l->opened;
	double us = servers_us(l);
	while (l->started < ob__load_all(l)) {
		unsigned all = l->started + l->opts->batch;
		all = all < ob__load_all(l) ? all : ob__load_all(l);
		tell_servers(l, SIGSTOP);
		int rc = queue_batch(l, ai, all, stop);
		uint64_t begin = ob__load_now();
		tell_servers(l, SIGCONT);
		if (rc < 0 || wait_for(l, &l->opened, all, stop) < 0) {
			return -1;
		}
		r->connect_seconds += (double)(ob__load_now() - begin) / (double)SECOND;
	}
	r->accept_us = l->opened > first ? (servers_us(l) - us) / (l->opened - first) : 0;
	return 0;
}

/* ---- all of them again ---- */

static int cut_all(struct ob__load *l, const struct addrinfo *ai, const volatile int *stop)
{
	struct ob__load_report *r = l->report;
	double seconds = 0;

	for (unsigned i = 0; i < l->started; i++) {
		ob__load_conn_cut(l, &l->conns[i]);
	}
	l->started = 0;
	l->asked = 0;
	l->opened = 0;
	l->measuring_back = true;
	int rc = connect_rest(l, ai, &seconds, stop);
	l->measuring_back = false;
	r->back_seconds = seconds > r->back_seconds ? seconds : r->back_seconds;
	return rc;
}

static int connect_all(struct ob__load *l, const volatile int *stop)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	int fd;
	int err = getaddrinfo(l->opts->host, l->opts->port, &hints, &list);

	if (err) {
		return fail(l, l->opts->host, gai_strerror(err));
	}
	int rc = -1;
	const struct addrinfo *ai = first_connect(list, &fd);
	if (!ai) {
		fail(l, "connect", strerror(errno));
		goto out;
	}
	if (ob__load_conn_start(l, &l->conns[l->started++], fd) < 0) {
		fail(l, "connection", "out of memory");
		goto out;
	}
	rc = l->opts->batch ? connect_batches(l, ai, stop)
	                    : connect_rest(l, ai, &l->report->connect_seconds, stop);
	for (unsigned i = 0; rc == 0 && i < l->opts->cuts; i++) {
		rc = cut_all(l, ai, stop);
	}
out:
	freeaddrinfo(list);
	return rc;
}

/* ---- setting up ---- */

static void make_body(const struct ob__load *l, uint8_t *p, size_t n)
{
	static const char verified[] = "{\"seq\":0000000000000000,\"pad\":\"";
	static const char plain[] = "{\"pad\":\"";
	const char *head = l->opts->verify ? verified : plain;
	size_t head_len = strlen(head);

	if (l->opts->body) {
		memcpy(p, l->opts->body, n);
	} else if (n < head_len + 2) {
		memset(p, ' ', n);
		memcpy(p, "{}", n < 2 ? 0 : 2);
	} else {
		memset(p, 'x', n);
		memcpy(p, head, head_len);
		memcpy(p + n - 2, "\"}", 2);
	}
}

/* How many frames a message of so many bytes has. */
static size_t fragments(const struct ob__load *l, size_t packet)
{
	size_t n = l->opts->fragments ? l->opts->fragments : 1;

	return n < packet ? n : packet;
}

static size_t message_size(const struct ob__load *l, size_t packet)
{
	size_t n = fragments(l, packet);
	size_t size = 0;

	for (size_t i = 0; i < n; i++) {
		size += ob__wsc_size(packet * (i + 1) / n - packet * i / n);
	}
	return size;
}

/* Writes the frames of one message, and where in them the digits are. */
static void put_message(struct ob__load *l, const uint8_t *packet, size_t len)
{
	size_t digits = OB__PKT_HEADER + strlen("{\"seq\":");
	size_t n = fragments(l, len);
	uint8_t *at = l->frames;

	for (size_t i = 0; i < n; i++) {
		size_t from = len * i / n;
		size_t to = len * (i + 1) / n;
		size_t head =
			ob__wsc_put(at, i ? OB__WSC_CONT : OB__WSC_BINARY, to - from, l->mask);
		at[0] = (uint8_t)(i + 1 < n ? at[0] & 0x7f : at[0]); /* FIN is the last one's */
		at += head;
		ob__wskey_mask(at, packet + from, to - from, l->mask);
		for (size_t d = 0; d < OB__LOAD_DIGITS; d++) {
			if (digits + d >= from && digits + d < to) {
				l->digit_at[d] = (size_t)(at - l->frames) + digits + d - from;
				l->digit_key[d] = l->mask[(digits + d - from) & 3];
			}
		}
		at += to - from;
	}
}

static int make_frames(struct ob__load *l)
{
	size_t len = OB__PKT_HEADER + l->opts->body_len;
	size_t depth = l->opts->depth ? l->opts->depth : 1;

	l->frame_len = message_size(l, len);
	l->frames_max = OB__LOAD_BURST / l->frame_len;
	l->frames_max = l->frames_max < 1 ? 1 : l->frames_max > depth ? depth : l->frames_max;
	l->frames = malloc(l->frames_max * l->frame_len);
	uint8_t *packet = malloc(len);
	if (!l->frames || !packet) {
		free(packet);
		return fail(l, "frames", "out of memory");
	}
	ob__pkt_put(packet, l->opts->id, l->opts->body_len);
	make_body(l, packet + OB__PKT_HEADER, l->opts->body_len);
	put_message(l, packet, len);
	free(packet);
	for (size_t i = 1; i < l->frames_max; i++) {
		memcpy(l->frames + i * l->frame_len, l->frames, l->frame_len);
	}
	return 0;
}

static int make_request(struct ob__load *l)
{
	uint8_t nonce[16];
	char host[300];
	bool v6 = strchr(l->opts->host, ':');

	if (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce) ||
	    getrandom(&l->random, sizeof(l->random), 0) != sizeof(l->random) ||
	    getrandom(l->mask, sizeof(l->mask), 0) != sizeof(l->mask)) {
		return fail(l, "getrandom", strerror(errno));
	}
	l->random |= 1; /* never 0 */
	EVP_EncodeBlock((unsigned char *)l->key, nonce, sizeof(nonce));
	ob__wskey_accept(l->key, l->accept);
	snprintf(host, sizeof(host), "%s%s%s:%s", v6 ? "[" : "", l->opts->host, v6 ? "]" : "",
	         l->opts->port);
	int n = ob__wsc_request(l->request, sizeof(l->request), host, l->opts->path, l->key);
	if (n < 0) {
		return fail(l, "request", "the path is too long");
	}
	l->request_len = (size_t)n;
	return 0;
}

static int raise_fd_limit(struct ob__load *l)
{
	struct rlimit lim;
	char why[96];

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0) {
		return fail(l, "getrlimit", strerror(errno));
	}
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	if (ob__load_all(l) + 64 <= lim.rlim_cur) {
		return 0;
	}
	snprintf(why, sizeof(why), "%u connections need more than the %llu allowed (ulimit -n)",
	         ob__load_all(l), (unsigned long long)lim.rlim_cur);
	return fail(l, "file descriptors", why);
}

static int set_up(struct ob__load *l)
{
	uint64_t conns = l->opts->conns;

	for (l->ring = l->opts->depth ? 2 : 0; l->ring && l->ring < 2ULL * l->opts->depth;) {
		l->ring *= 2;
	}
	if (conns * l->ring > RING_CELLS) {
		return fail(l, "memory", "too many connections for that depth");
	}
	if (raise_fd_limit(l) < 0 || make_request(l) < 0 || make_frames(l) < 0) {
		return -1;
	}
	if (l->opts->rate <= 0 && conns * l->opts->depth > (UINT64_C(4) << 30) / l->frame_len) {
		return fail(l, "memory", "connections x depth x body is over 4 GiB");
	}
	if (l->opts->tls && ob__load_tls_init(l) < 0) {
		return fail(l, "TLS", "out of memory");
	}
	l->missing = l->opts->broadcast ? calloc(l->ring, sizeof(*l->missing)) : NULL;
	l->conns = calloc(ob__load_all(l), sizeof(*l->conns));
	l->read_buf = malloc(OB__LOAD_MAX_FRAME + OB__WSC_HEADER_MAX + OB__LOAD_READ);
	if (!l->conns || !l->read_buf || (l->opts->broadcast && !l->missing)) {
		return fail(l, "connections", "out of memory");
	}
	for (unsigned i = 0; i < ob__load_all(l); i++) {
		l->conns[i] = (struct ob__load_conn){
			.index = i, .fd = -1, .state = OB__LOAD_GONE, .version = -1};
	}
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0) {
		return fail(l, "epoll_create1", strerror(errno));
	}
	mallopt(M_MMAP_THRESHOLD, HEAP_KEPT);
	mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
	/* An open loop sleeps tens of microseconds at a time; the default slack is 50. */
	prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
	return 0;
}

static void tear_down(struct ob__load *l)
{
	for (unsigned i = 0; i < l->started; i++) {
		ob__load_conn_free(l, &l->conns[i]);
	}
	if (l->epfd >= 0) {
		close(l->epfd);
	}
	free(l->conns);
	free(l->frames);
	free(l->missing);
	free(l->read_buf);
	SSL_CTX_free(l->tls);
}

static void say_goodbye(struct ob__load *l)
{
	uint64_t end = ob__load_now() + CLOSE_SECONDS * SECOND;

	for (unsigned i = 0; i < l->started; i++) {
		ob__load_conn_close(l, &l->conns[i]);
	}
	for (uint64_t now = ob__load_now(); l->alive && now < end; now = ob__load_now()) {
		turn(l, now, end);
	}
}

int ob__load_run(const struct ob__load_opts *opts, struct ob__load_report *report,
                 const volatile int *stop)
{
	struct ob__load l = {.opts = opts, .report = report, .epfd = -1};
	int rc = -1;

	memset(report, 0, sizeof(*report));
	if (set_up(&l) == 0 && connect_all(&l, stop) == 0) {
		if (opts->announce) {
			fputs("connected\n", stderr);
		}
		run_load(&l, stop);
		say_goodbye(&l);
		report->sent = l.queued;
		report->lost = l.queued - report->answered;
		rc = 0;
	}
	tear_down(&l);
	return rc;
}

uint64_t ob__load_errors(const struct ob__load_report *r)
{
	return r->lost + r->duplicated + r->reordered + r->misdelivered + r->unreadable +
	       r->overrun + r->failed_codes + r->broken;
}
