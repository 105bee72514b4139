/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * raw_tls_echo: the limit of the machine for a WebSocket echo over TLS: OpenSSL on plain epoll, one
 * thread. As raw_ws_echo, all that has come is read at once, the replies are built in place, and
 * one call hands them to OpenSSL. A connection whose reader is slow is not read from until what
 * waits for it is gone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "bench/rawnet.h"

enum { EVENTS = 1024, LISTENER = 0, SECURING, FRESH, UPGRADED, CLOSING };

struct client {
	struct ob__raw_sock s;
	SSL *ssl;
};

static int epfd;
static uint8_t *buf;
static SSL_CTX *ctx;

/* 0 when it waits for the socket, -1 at the end. */
static ssize_t outcome(const struct client *c, int rc, const size_t *n)
{
	if (rc == 1) {
		return (ssize_t)*n;
	}
	int err = SSL_get_error(c->ssl, rc);
	return err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* As ob__raw_read(): all that there is, behind what was kept. */
static ssize_t read_all(struct client *c)
{
	size_t have = c->s.kept_len;
	size_t all = 0;
	ssize_t n;

	do {
		size_t done = 0;
		ERR_clear_error();
		n = outcome(c, SSL_read_ex(c->ssl, buf + have + all, OB__RAW_READ - all, &done),
		            &done);
		all += n > 0 ? (size_t)n : 0;
	} while (n > 0 && all < OB__RAW_READ);
	if (!all) {
		return n;
	}
	if (have) {
		memcpy(buf, c->s.kept, have);
		free(c->s.kept);
		c->s.kept = NULL;
		c->s.kept_len = 0;
	}
	return (ssize_t)(have + all);
}

/* Sends at once, behind what waits; copies only what the socket does not take. */
static int send_now(struct client *c, const uint8_t *p, size_t n)
{
	while (n > 0 && !ob__raw_waiting(&c->s)) {
		size_t done = 0;
		ERR_clear_error();
		ssize_t put = outcome(c, SSL_write_ex(c->ssl, p, n, &done), &done);
		if (put < 0) {
			return -1;
		}
		if (put == 0) {
			break;
		}
		p += put;
		n -= (size_t)put;
	}
	if (n > 0) {
		memcpy(ob__raw_room(&c->s, n), p, n);
		c->s.paused = true;
		ob__raw_arm(epfd, &c->s);
	}
	return 0;
}

static int on_writable(struct client *c)
{
	struct ob__raw_sock *s = &c->s;
	uint8_t *p = s->out + s->out_off;
	size_t n = ob__raw_waiting(s);

	/* As if nothing waited: what is left over is put back where it was. */
	while (n > 0) {
		size_t done = 0;
		ERR_clear_error();
		ssize_t put = outcome(c, SSL_write_ex(c->ssl, p, n, &done), &done);
		if (put < 0) {
			return -1;
		}
		if (put == 0) {
			return 0;
		}
		p += put;
		n -= (size_t)put;
		s->out_off += (size_t)put;
	}
	s->paused = false;
	return ob__raw_flush(epfd, s); /* sends nothing, gives the memory back */
}

static int upgrade(struct client *c, size_t n, ssize_t *used)
{
	*used = ob__raw_upgrade(&c->s, buf, n);
	if (*used < 0) {
		return -1;
	}
	if (*used > 0) {
		c->s.kind = UPGRADED;
		return on_writable(c);
	}
	return 0;
}

static int on_readable(struct client *c)
{
	ssize_t n = read_all(c);
	ssize_t used = 0;
	size_t more = 0;
	bool closes = false;

	if (n <= 0) {
		return (int)n;
	}
	if (c->s.kind == FRESH && upgrade(c, (size_t)n, &used) < 0) {
		return -1;
	}
	if (c->s.kind == UPGRADED) {
		ssize_t put = ob__raw_echo(buf + used, (size_t)(n - used), &more, &closes);
		c->s.kind = closes ? CLOSING : UPGRADED;
		if (put < 0 || (put && send_now(c, buf + used, (size_t)put) < 0)) {
			return -1;
		}
		used += (ssize_t)more;
	}
	ob__raw_keep(&c->s, buf + used, (size_t)(n - used));
	return 0;
}

static int secure(struct client *c)
{
	const size_t one = 1;

	ERR_clear_error();
	ssize_t rc = outcome(c, SSL_do_handshake(c->ssl), &one);

	if (rc > 0) {
		c->s.kind = FRESH;
		return on_readable(c);
	}
	return (int)rc;
}

static void on_event(struct client *c, uint32_t events)
{
	int rc = 0;

	if (c->s.kind == SECURING) {
		rc = secure(c);
	} else {
		if (events & EPOLLOUT) {
			rc = on_writable(c);
		}
		if (rc == 0 && !c->s.paused && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
			rc = on_readable(c);
		}
	}
	if (rc < 0 || (c->s.kind == CLOSING && !ob__raw_waiting(&c->s)) ||
	    (c->s.paused && events & EPOLLERR)) {
		SSL_free(c->ssl);
		ob__raw_close(&c->s);
		free(c);
	}
}

static void accept_all(int listener)
{
	for (int fd = ob__raw_accept(listener); fd >= 0; fd = ob__raw_accept(listener)) {
		struct client *c = malloc(sizeof(*c));
		SSL *ssl = c ? SSL_new(ctx) : NULL;
		if (!ssl || SSL_set_fd(ssl, fd) != 1) {
			ob__raw_die("out of memory");
		}
		SSL_set_accept_state(ssl);
		ob__raw_open(epfd, &c->s, SECURING, fd);
		c->ssl = ssl;
	}
}

static void load(const char *cert, const char *key)
{
	ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		ob__raw_die("%s, %s: %s", cert, key, ERR_reason_error_string(ERR_peek_error()));
	}
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                              SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
}

int main(int argc, char **argv)
{
	struct client listener;
	struct epoll_event ev[EVENTS];

	if (argc != 4) {
		fputs("usage: raw_tls_echo PORT CERT KEY   (0: any; prints \"listening PORT\")\n",
		      stderr);
		return 2;
	}
	epfd = ob__raw_start();
	buf = malloc(OB__RAW_BUFFER);
	if (!buf) {
		ob__raw_die("out of memory");
	}
	load(argv[2], argv[3]);
	ob__raw_open(epfd, &listener.s, LISTENER, ob__raw_listen(argv[1]));
	for (;;) {
		int n = epoll_wait(epfd, ev, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct client *c = ev[i].data.ptr;
			if (c->s.kind == LISTENER) {
				accept_all(c->s.fd);
			} else {
				on_event(c, ev[i].events);
			}
		}
	}
}
