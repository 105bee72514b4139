/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "bench/rawnet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/wskey.h"

enum { SPARE_CHUNKS = 64, REQUEST_MAX = 8192, DIAL_TRIES = 100, DIAL_WAIT_MS = 50 };

static struct {
	uint8_t *chunk[SPARE_CHUNKS];
	unsigned n;
} spare;

void ob__raw_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void on_signal(int sig)
{
	(void)sig;
	_exit(0);
}

int ob__raw_start(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	struct rlimit lim;

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	/* Without this, large buffers are mapped and unmapped again for every message. */
	mallopt(M_MMAP_THRESHOLD, OB__RAW_HEAP);
	mallopt(M_TRIM_THRESHOLD, OB__RAW_HEAP);
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0) {
		ob__raw_die("epoll_create1: %s", strerror(errno));
	}
	return epfd;
}

int ob__raw_listen(const char *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	socklen_t len = sizeof(sin);
	char *end;
	int one = 1;
	unsigned long number = strtoul(port, &end, 10);

	if (*end || end == port || number > 65535) {
		ob__raw_die("'%s' is not a port", port);
	}
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	sin.sin_port = htons((uint16_t)number);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 || listen(fd, 4096) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sin, &len) < 0) {
		ob__raw_die("listen on 127.0.0.1:%s: %s", port, strerror(errno));
	}
	printf("listening %d\n", ntohs(sin.sin_port));
	fflush(stdout);
	return fd;
}

static void make_quick(int fd)
{
	int one = 1;

	ioctl(fd, FIONBIO, &one);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

int ob__raw_dial(const char *address)
{
	char host[256];
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	struct addrinfo *ai;
	const struct timespec pause = {.tv_nsec = DIAL_WAIT_MS * 1000000L};

	snprintf(host, sizeof(host), "%s", address);
	char *colon = strrchr(host, ':');
	if (!colon) {
		ob__raw_die("'%s' is not HOST:PORT", address);
	}
	*colon = '\0';
	int err = getaddrinfo(host, colon + 1, &hints, &ai);
	if (err) {
		ob__raw_die("%s: %s", address, gai_strerror(err));
	}
	for (int i = 0; i < DIAL_TRIES; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0) {
			freeaddrinfo(ai);
			make_quick(fd);
			return fd;
		}
		err = errno;
		close(fd);
		nanosleep(&pause, NULL);
	}
	ob__raw_die("connect %s: %s", address, strerror(err));
}

int ob__raw_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		make_quick(fd);
	}
	return fd;
}

void ob__raw_open(int epfd, struct ob__raw_sock *s, int kind, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};

	*s = (struct ob__raw_sock){.kind = kind, .fd = fd, .events = EPOLLIN};
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		ob__raw_die("epoll_ctl: %s", strerror(errno));
	}
}

static void drop_output(struct ob__raw_sock *s)
{
	if (s->out && s->out_cap == OB__RAW_CHUNK && spare.n < SPARE_CHUNKS) {
		spare.chunk[spare.n++] = s->out;
	} else {
		free(s->out);
	}
	s->out = NULL;
	s->out_off = 0;
	s->out_len = 0;
	s->out_cap = 0;
}

void ob__raw_close(struct ob__raw_sock *s)
{
	if (s->fd < 0) {
		return;
	}
	close(s->fd);
	s->fd = -1;
	drop_output(s);
	free(s->kept);
	s->kept = NULL;
	s->kept_len = 0;
}

ssize_t ob__raw_read(struct ob__raw_sock *s, uint8_t *buf)
{
	size_t have = s->kept_len;
	ssize_t n = recv(s->fd, buf + have, OB__RAW_READ, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return 0;
	}
	if (n <= 0) {
		return -1;
	}
	if (have) {
		memcpy(buf, s->kept, have);
		free(s->kept);
		s->kept = NULL;
		s->kept_len = 0;
	}
	return (ssize_t)have + n;
}

void ob__raw_keep(struct ob__raw_sock *s, const uint8_t *p, size_t n)
{
	if (!n) {
		return;
	}
	s->kept = malloc(n);
	if (!s->kept) {
		ob__raw_die("out of memory");
	}
	memcpy(s->kept, p, n);
	s->kept_len = n;
}

static void grow_output(struct ob__raw_sock *s, size_t need)
{
	size_t cap = s->out_cap ? s->out_cap : OB__RAW_CHUNK;

	if (!s->out && spare.n) {
		s->out = spare.chunk[--spare.n];
		s->out_cap = OB__RAW_CHUNK;
	}
	while (cap < need) {
		cap *= 2;
	}
	if (cap == s->out_cap) {
		return;
	}
	uint8_t *out = realloc(s->out, cap);
	if (!out) {
		ob__raw_die("out of memory");
	}
	s->out = out;
	s->out_cap = cap;
}

uint8_t *ob__raw_room(struct ob__raw_sock *s, size_t n)
{
	if (s->out_len + n > s->out_cap) {
		if (s->out_off > s->out_len / 2) {
			memmove(s->out, s->out + s->out_off, s->out_len - s->out_off);
			s->out_len -= s->out_off;
			s->out_off = 0;
		}
		if (s->out_len + n > s->out_cap) {
			grow_output(s, s->out_len + n);
		}
	}
	uint8_t *p = s->out + s->out_len;
	s->out_len += n;
	return p;
}

size_t ob__raw_waiting(const struct ob__raw_sock *s)
{
	return s->out_len - s->out_off;
}

void ob__raw_arm(int epfd, struct ob__raw_sock *s)
{
	uint32_t events = (s->paused ? 0U : (uint32_t)EPOLLIN) |
	                  (ob__raw_waiting(s) ? (uint32_t)EPOLLOUT : 0U);
	struct epoll_event ev = {.events = events, .data.ptr = s};

	if (s->fd >= 0 && events != s->events) {
		s->events = events;
		epoll_ctl(epfd, EPOLL_CTL_MOD, s->fd, &ev);
	}
}

int ob__raw_flush(int epfd, struct ob__raw_sock *s)
{
	if (s->fd < 0) {
		return -1;
	}
	if (ob__raw_waiting(s)) {
		ssize_t n = send(s->fd, s->out + s->out_off, s->out_len - s->out_off, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			return -1;
		}
		s->out_off += n > 0 ? (size_t)n : 0;
	}
	if (s->out && !ob__raw_waiting(s)) {
		drop_output(s);
	}
	ob__raw_arm(epfd, s);
	return 0;
}

/* Copies the value of Sec-WebSocket-Key out of a request head; -1 if there is no good one. */
static int find_key(const uint8_t *p, const uint8_t *end, char key[OB__WSKEY_MAX + 1])
{
	static const char name[] = "\r\nsec-websocket-key:";
	const size_t name_len = sizeof(name) - 1;
	size_t n = 0;

	while (p + name_len < end && strncasecmp((const char *)p, name, name_len) != 0) {
		p++;
	}
	if (p + name_len >= end) {
		return -1;
	}
	for (p += name_len; p < end && *p == ' '; p++) {
	}
	while (p<end && * p> ' ' && n < OB__WSKEY_MAX) {
		key[n++] = (char)*p++;
	}
	key[n] = '\0';
	return n ? 0 : -1;
}

ssize_t ob__raw_upgrade(struct ob__raw_sock *s, const uint8_t *p, size_t n)
{
	char key[OB__WSKEY_MAX + 1];
	char accept[OB__WSKEY_ACCEPT];
	char reply[256];
	const uint8_t *end = memmem(p, n, "\r\n\r\n", 4);

	if (!end) {
		return n > REQUEST_MAX ? -1 : 0;
	}
	if (find_key(p, end, key) < 0 || ob__wskey_accept(key, accept) < 0) {
		return -1;
	}
	int len = snprintf(reply, sizeof(reply),
	                   "HTTP/1.1 101 Switching Protocols\r\n"
	                   "Upgrade: websocket\r\n"
	                   "Connection: Upgrade\r\n"
	                   "Sec-WebSocket-Accept: %s\r\n\r\n",
	                   accept);
	memcpy(ob__raw_room(s, (size_t)len), reply, (size_t)len);
	return end - p + 4;
}

int ob__raw_header(const uint8_t *p, size_t n, struct ob__raw_frame *f)
{
	if (n < 2) {
		return 0;
	}
	uint64_t len = p[1] & 0x7f;
	size_t extra = len == 126 ? 2 : len == 127 ? 8 : 0;
	f->fin = p[0] & 0x80;
	f->opcode = p[0] & 0x0f;
	if (p[0] & 0x70 || !(p[1] & 0x80) || (f->opcode & 8 && (extra || !f->fin))) {
		return -1;
	}
	if (n < 6 + extra) {
		return 0;
	}
	if (extra) {
		len = 0;
	}
	for (size_t i = 0; i < extra; i++) {
		len = len << 8 | p[2 + i];
	}
	if (len > OB__RAW_MAX) {
		return -1;
	}
	f->len = (size_t)len;
	memcpy(f->mask, p + 2 + extra, 4);
	return (int)(6 + extra);
}

size_t ob__raw_put(uint8_t *dst, uint8_t first, size_t len)
{
	size_t extra = len < 126 ? 0 : len < 65536 ? 2 : 8;

	dst[0] = first;
	dst[1] = extra == 0 ? (uint8_t)len : extra == 2 ? 126 : 127;
	for (size_t i = 0; i < extra; i++) {
		dst[2 + i] = (uint8_t)((uint64_t)len >> 8 * (extra - 1 - i));
	}
	return 2 + extra;
}

ssize_t ob__raw_echo(uint8_t *p, size_t n, size_t *used, bool *closes)
{
	struct ob__raw_frame f;
	size_t at = 0;
	size_t put = 0;

	while (!*closes) {
		int head = ob__raw_header(p + at, n - at, &f);
		if (head < 0) {
			return -1;
		}
		if (!head || n - at - (size_t)head < f.len) {
			break;
		}
		uint8_t *payload = p + at + head;
		uint8_t first = p[at];
		at += (size_t)head + f.len;
		if (f.opcode == OB__RAW_OP_PONG) {
			continue;
		}
		if (f.opcode == OB__RAW_OP_PING) {
			first = 0x80 | OB__RAW_OP_PONG;
		}
		*closes = f.opcode == OB__RAW_OP_CLOSE;
		put += ob__raw_put(p + put, first, f.len);
		ob__wskey_mask(p + put, payload, f.len, f.mask);
		put += f.len;
	}
	*used = at;
	return (ssize_t)put;
}
