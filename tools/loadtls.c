/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "tools/load_priv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include <openssl/err.h>

int ob__load_tls_init(struct ob__load *l)
{
	l->tls = SSL_CTX_new(TLS_client_method());
	if (!l->tls) {
		return -1;
	}
	/* A load client: whose certificate it is does not matter. */
	SSL_CTX_set_verify(l->tls, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_mode(l->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
	                                 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                                 SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(l->tls, 1);
	SSL_CTX_set_session_cache_mode(l->tls, SSL_SESS_CACHE_OFF);
	return 0;
}

int ob__load_tls_start(struct ob__load *l, struct ob__load_conn *c)
{
	c->ssl = SSL_new(l->tls);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1) {
		return -1;
	}
	SSL_set_connect_state(c->ssl);
	return 0;
}

int ob__load_tls_step(struct ob__load_conn *c, char *why, size_t cap)
{
	ERR_clear_error();
	int rc = SSL_do_handshake(c->ssl);
	if (rc == 1) {
		return 1;
	}
	if (SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ) {
		return 0;
	}
	const char *text = ERR_reason_error_string(ERR_peek_error());
	snprintf(why, cap, "%s", text ? text : "the server closed the connection");
	return -1;
}

/* What a call of OpenSSL gave, as send() and recv() would say it. */
static ssize_t outcome(SSL *ssl, int rc, const size_t *n)
{
	if (rc == 1) {
		return (ssize_t)*n;
	}
	switch (SSL_get_error(ssl, rc)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		errno = errno ? errno : EPROTO;
		return -1;
	}
}

ssize_t ob__load_io_send(struct ob__load_conn *c, const uint8_t *p, size_t n)
{
	size_t all = 0;

	if (!c->ssl) {
		return send(c->fd, p, n, MSG_NOSIGNAL);
	}
	while (all < n) {
		size_t done = 0;
		ERR_clear_error();
		errno = 0;
		ssize_t rc = outcome(c->ssl, SSL_write_ex(c->ssl, p + all, n - all, &done), &done);
		if (rc <= 0) {
			return all ? (ssize_t)all : rc;
		}
		all += (size_t)rc;
	}
	return (ssize_t)all;
}

/* All that OpenSSL has: what it keeps, epoll does not know of. */
ssize_t ob__load_io_recv(struct ob__load_conn *c, uint8_t *p, size_t n)
{
	size_t all = 0;

	if (!c->ssl) {
		return recv(c->fd, p, n, 0);
	}
	while (all < n) {
		size_t done = 0;
		ERR_clear_error();
		errno = 0;
		ssize_t rc = outcome(c->ssl, SSL_read_ex(c->ssl, p + all, n - all, &done), &done);
		if (rc <= 0) {
			return all ? (ssize_t)all : rc;
		}
		all += (size_t)rc;
	}
	return (ssize_t)all;
}
