/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "net/stream_priv.h"

#define RECORD       (16u << 10)           /* plaintext in one record */
#define RECORD_EXTRA 512u                  /* what encryption adds at most, amply */
#define BATCH        (4u * OB__CHUNK_SIZE) /* ciphertext of one write */
#define OUT_MAX      (2u * BATCH)          /* more is a peer that has us answer and never reads */
#define FIRST_BYTE   0x16u                 /* of a TLS handshake */
#define HANDSHAKE_MS 10000u

/* ---------------------------------------------------------------- ciphertext to be written */

bool ob__tls_put(struct ob__tls *t, const uint8_t *data, size_t len)
{
	if (t->out_len + len > OUT_MAX) {
		return false;
	}
	while (len > 0) {
		struct ob__chunk *c = t->out_tail;
		if (c == NULL || c->len == OB__CHUNK_SIZE) {
			c = ob__chunk_new(t->s->m);
			if (c == NULL) {
				return false;
			}
			*(t->out_tail != NULL ? &t->out_tail->next : &t->out_head) = c;
			t->out_tail = c;
		}
		size_t room = OB__CHUNK_SIZE - c->len;
		size_t n = len < room ? len : room;
		memcpy(c->data + c->len, data, n);
		c->len += n;
		t->out_len += n;
		data += n;
		len -= n;
	}
	return true;
}

static struct ob__chunk *take_output(struct ob__tls *t)
{
	struct ob__chunk *list = t->out_head;
	t->out_head = NULL;
	t->out_tail = NULL;
	t->out_len = 0;
	return list;
}

static void drop_output(struct ob__tls *t)
{
	ob__chunks_free(t->s->m, take_output(t));
}

bool ob__tls_has_output(const struct ob__stream *s)
{
	return s->tls != NULL && s->tls->out_len > 0;
}

void ob__tls_forget(struct ob__stream *s)
{
	if (s->tls != NULL) {
		s->tls->out_plain = 0;
	}
}

/* The kernel has taken so much of it. */
static void output_gone(struct ob__tls *t, size_t n)
{
	t->out_len -= n;
	while (n > 0) {
		struct ob__chunk *c = t->out_head;
		size_t left = c->len - c->sent;
		if (n < left) {
			c->sent += n;
			return;
		}
		n -= left;
		t->out_head = c->next;
		t->out_tail = c->next != NULL ? t->out_tail : NULL;
		c->next = NULL;
		ob__chunks_free(t->s->m, c);
	}
}

/* One attempt that nobody waits for; behind others that are waited for there is no need. */
static void try_output(struct ob__stream *s)
{
	struct ob__tls *t = s->tls;
	uv_buf_t iov[OB__TRY_IOVS];
	size_t total;
	if (s->blocked) {
		return;
	}
	if (t->out_len > 0 && s->opened && !s->connecting) {
		unsigned n = ob__chunks_gather(t->out_head, iov, OB__TRY_IOVS, &total);
		s->m->syscalls_out++;
		ssize_t done = ob__sock_write(&s->sock, iov, n);
		s->m->bytes_out += done > 0 ? (size_t)done : 0;
	}
	drop_output(t);
}

/* ---------------------------------------------------------------- what went wrong */

static const char *why(const struct ob__tls *t)
{
	long verified = SSL_get_verify_result(t->ssl);
	if (verified != X509_V_OK && !t->psk) {
		return X509_verify_cert_error_string(verified);
	}
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	return reason != NULL ? reason : "out of memory, or it does not read";
}

/* TLS is over; the peer is told with an alert if it can be. */
static void break_off(struct ob__stream *s)
{
	struct ob__tls *t = s->tls;
	snprintf(t->error, sizeof(t->error), "TLS%s failed (%s)", t->ready ? "" : " handshake",
	         t->no_key ? "its key is not known here" : why(t));
	ERR_clear_error();
	t->dead = true;
	ob__timeout_clear(s->m->loop, &t->deadline);
	try_output(s);
}

static void on_deadline(void *arg)
{
	struct ob__tls *t = arg;
	snprintf(t->error, sizeof(t->error), "no TLS handshake within %u ms",
	         (unsigned)t->start.ms);
	t->dead = true;
	ob__stream_fail(t->s, UV_ETIMEDOUT);
}

int ob__tls_end(struct ob__stream *s, int status)
{
	struct ob__tls *t = s->tls;
	bool was_ready = t->ready && !t->dead;
	t->dead = true;
	ob__timeout_clear(s->m->loop, &t->deadline);
	if (status != UV_EOF) {
		return status;
	}
	snprintf(t->error, sizeof(t->error), "%s",
	         was_ready ? "cut off: the connection ended without TLS's goodbye"
	                   : "the connection ended within the TLS handshake");
	return UV_ECONNABORTED;
}

const char *ob__stream_error(const struct ob__stream *s, int status)
{
	if (s->tls != NULL && s->tls->error[0] != '\0' &&
	    (status == UV_EPROTO || status == UV_ECONNABORTED || status == UV_ETIMEDOUT ||
	     status == UV_EPROTONOSUPPORT)) {
		return s->tls->error;
	}
	return uv_strerror(status);
}

/* ---------------------------------------------------------------- the handshake */

/* False when it is not done yet, or has failed. */
static bool handshake(struct ob__stream *s, bool *failed)
{
	struct ob__tls *t = s->tls;
	ERR_clear_error();
	int rc = SSL_do_handshake(t->ssl);
	if (rc != 1) {
		*failed = SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ;
		return false;
	}
	if (t->psk && !SSL_session_reused(t->ssl)) {
		*failed = true; /* never seen: without a certificate there is nothing else */
		return false;
	}
	t->ready = true;
	ob__timeout_clear(s->m->loop, &t->deadline);
	OPENSSL_cleanse(t->start.psk_key, sizeof(t->start.psk_key));
	return true;
}

void ob__tls_begin(struct ob__stream *s)
{
	struct ob__tls *t = s->tls;
	bool failed = false;
	if (t->begun) {
		return;
	}
	t->begun = true;
	ob__timeout_set(s->m->loop, &t->deadline, t->start.ms);
	if (!t->server) {
		handshake(s, &failed);
		if (failed) {
			break_off(s);
			ob__stream_fail(s, UV_EPROTO);
			return;
		}
		ob__stream_mark_dirty(s);
	}
}

int ob__stream_tls(struct ob__stream *s, struct ob__tls_ctx *ctx, const struct ob__tls_start *start)
{
	assert(s->tls == NULL && s->queued == 0);
	struct ob__tls *t = calloc(1, sizeof(*t));
	if (t == NULL) {
		return -ENOMEM;
	}
	t->s = s;
	t->start = *start;
	t->start.ms = start->ms != 0 ? start->ms : HANDSHAKE_MS;
	ob__timeout_init(&t->deadline, on_deadline, t);
	t->ssl = ob__tls_ssl_new(ctx, t);
	if (t->ssl == NULL) {
		free(t);
		return -ENOMEM;
	}
	s->tls = t;
	if (s->opened && !s->connecting) {
		ob__tls_begin(s);
	}
	return 0;
}

void ob__tls_free(struct ob__stream *s)
{
	struct ob__tls *t = s->tls;
	if (t == NULL) {
		return;
	}
	s->tls = NULL;
	ob__timeout_clear(s->m->loop, &t->deadline);
	ob__chunks_free(s->m, take_output(t));
	SSL_free(t->ssl);
	ob__tls_ctx_free(t->ctx);
	OPENSSL_cleanse(t->start.psk_key, sizeof(t->start.psk_key));
	free(t);
}

/* ---------------------------------------------------------------- reading */

/* Something else than TLS: what it was sent so far was nothing, and stays so. */
static void not_tls(struct ob__stream *s)
{
	struct ob__tls *t = s->tls;
	snprintf(t->error, sizeof(t->error), "it does not speak TLS");
	t->plain = true;
	ob__timeout_clear(s->m->loop, &t->deadline);
	drop_output(t);
	ob__stream_drop_queue(s);
	ob__stream_end(s, UV_EPROTONOSUPPORT);
}

/* Decrypts all there is to the start of the shared buffer.  How much; t->over says if that was the
 * last. */
static size_t decrypt(struct ob__tls *t, uint8_t *out)
{
	size_t done = 0;
	ERR_clear_error();
	for (;;) {
		size_t room = t->in_len > 0 ? (size_t)(t->in - (out + done)) : OB__TLS_READ_AT;
		size_t n = 0;
		int rc = SSL_read_ex(t->ssl, out + done, room, &n);
		if (rc == 1) {
			done += n;
			continue;
		}
		switch (SSL_get_error(t->ssl, rc)) {
		case SSL_ERROR_WANT_READ:
			return done;
		case SSL_ERROR_ZERO_RETURN:
			t->over = UV_EOF;
			return done;
		default:
			t->over = UV_EPROTO;
			return done;
		}
	}
}

/* Tells the owner that the handshake is done; false when there is nothing more to do. */
static bool tell_secure(struct ob__stream *s)
{
	if (s->queued > 0) {
		ob__stream_mark_dirty(s);
	}
	if (s->tls->start.on_secure != NULL) {
		s->tls->start.on_secure(s);
	}
	return !s->closing && s->failed == 0;
}

static bool make_ready(struct ob__stream *s)
{
	bool failed = false;
	if (handshake(s, &failed)) {
		return tell_secure(s);
	}
	if (failed) {
		break_off(s);
		ob__stream_end(s, UV_EPROTO);
	}
	return false;
}

/* An owner that has stopped reading gets it when it goes on. */
static bool hand_out(struct ob__stream *s, uint8_t *data, size_t len)
{
	if (len == 0) {
		return true;
	}
	if (!s->reading) {
		if (ob__stream_unread(s, data, len) < 0) {
			ob__stream_fail(s, UV_ENOMEM);
		}
		return s->failed == 0;
	}
	s->ops->on_read(s, data, len);
	return !s->closing && s->failed == 0;
}

bool ob__tls_is_over(const struct ob__stream *s)
{
	return s->tls != NULL && s->tls->over != 0;
}

void ob__tls_tell_over(struct ob__stream *s)
{
	if (ob__tls_is_over(s) && ob__stream_wants_more(s)) {
		ob__stream_end(s, s->tls->over);
	}
}

static void read_ready(struct ob__stream *s)
{
	uint8_t *out = ob__loop_read_buffer(s->m->loop);
	size_t len = decrypt(s->tls, out);
	if (s->tls->over == UV_EPROTO) {
		break_off(s);
	}
	if (hand_out(s, out, len)) {
		ob__tls_tell_over(s);
	}
}

void ob__tls_read(struct ob__stream *s, const uint8_t *data, size_t len)
{
	struct ob__tls *t = s->tls;
	if (t->dead || t->plain) {
		return;
	}
	if (!t->heard && t->server && data[0] != FIRST_BYTE) {
		not_tls(s);
		return;
	}
	t->heard = true;
	t->in = data;
	t->in_len = len;
	if (t->ready || make_ready(s)) {
		read_ready(s);
	}
	if (!s->closing && s->failed == 0 && ob__tls_has_output(s)) {
		ob__stream_mark_dirty(s);
	}
}

void ob__stream_tls_feed(struct ob__stream *s, const void *data, size_t len)
{
	if (len > 0) {
		ob__tls_read(s, data, len);
	}
}

/* ---------------------------------------------------------------- writing */

/* Makes ciphertext of the front of the queue. */
static bool encrypt(struct ob__stream *s)
{
	struct ob__tls *t = s->tls;
	ERR_clear_error();
	while (t->ready && !t->dead && s->out_head != NULL &&
	       t->out_len + RECORD + RECORD_EXTRA <= BATCH) {
		const struct ob__chunk *c = s->out_head;
		size_t left = c->len - c->sent;
		size_t n = left < RECORD ? left : RECORD;
		size_t done = 0;
		if (SSL_write_ex(t->ssl, c->data + c->sent, n, &done) != 1) {
			return false;
		}
		ob__stream_drop_front(s, done);
		t->out_plain += done;
		if (++t->records >= OB__TLS_REKEY) {
			t->records = 0;
			SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED); /* TLS 1.3 only */
			ERR_clear_error();
		}
	}
	return true;
}

/* True when all of the output is gone. */
static bool write_output(struct ob__stream *s)
{
	struct ob__tls *t = s->tls;
	uv_buf_t iov[OB__TRY_IOVS];
	size_t total;
	unsigned n = ob__chunks_gather(t->out_head, iov, OB__TRY_IOVS, &total);
	s->m->syscalls_out++;
	ssize_t done = ob__sock_write(&s->sock, iov, n);
	if (done < 0 && done != UV_EAGAIN) {
		drop_output(t);
		ob__stream_fail(s, (int)done);
		return false;
	}
	if (done > 0) {
		s->m->bytes_out += (size_t)done;
		output_gone(t, (size_t)done);
	}
	if (t->out_len > 0) {
		ob__stream_block(s);
		return false;
	}
	s->queued -= t->out_plain;
	s->taken += (uint32_t)t->out_plain;
	t->out_plain = 0;
	return true;
}

void ob__tls_flush(struct ob__stream *s)
{
	for (;;) {
		if (!encrypt(s)) {
			break_off(s);
			ob__stream_fail(s, UV_EPROTO);
			return;
		}
		if (!ob__tls_has_output(s)) {
			break;
		}
		if (!write_output(s)) {
			return;
		}
	}
	ob__stream_check_drained(s);
	if (s->out_head == NULL && s->close_after_flush) {
		ob__stream_flushed(s);
	}
}

bool ob__tls_say_bye(struct ob__stream *s)
{
	struct ob__tls *t = s->tls;
	if (t == NULL || !t->ready || t->dead || t->bye) {
		return false;
	}
	t->bye = true;
	ERR_clear_error();
	SSL_shutdown(t->ssl);
	ERR_clear_error();
	return t->out_len > 0;
}

/* Closing at once drops what is queued; only if there is nothing, that was all. */
void ob__tls_last_try(struct ob__stream *s)
{
	if (s->tls != NULL && s->queued == 0 && s->failed == 0 && ob__tls_say_bye(s)) {
		try_output(s);
	}
}

/* ---------------------------------------------------------------- who is there */

bool ob__stream_is_secure(const struct ob__stream *s)
{
	return s->tls != NULL && s->tls->ready;
}

int ob__stream_export(const struct ob__stream *s, const char *label, uint8_t *out, size_t len)
{
	if (!ob__stream_is_secure(s)) {
		return -ENOTCONN;
	}
	int rc =
		SSL_export_keying_material(s->tls->ssl, out, len, label, strlen(label), NULL, 0, 0);
	return rc == 1 ? 0 : -EIO;
}

static bool is_uri(const GENERAL_NAME *name, const char *uri)
{
	if (name->type != GEN_URI) {
		return false;
	}
	const ASN1_IA5STRING *text = name->d.uniformResourceIdentifier;
	size_t len = (size_t)ASN1_STRING_length(text);
	return len == strlen(uri) && memcmp(ASN1_STRING_get0_data(text), uri, len) == 0;
}

bool ob__stream_peer_has_uri(const struct ob__stream *s, const char *uri)
{
	X509 *cert = ob__stream_is_secure(s) ? SSL_get1_peer_certificate(s->tls->ssl) : NULL;
	GENERAL_NAMES *names =
		cert != NULL ? X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL) : NULL;
	bool found = false;
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		found = found || is_uri(sk_GENERAL_NAME_value(names, i), uri);
	}
	GENERAL_NAMES_free(names);
	X509_free(cert);
	return found;
}

void ob__stream_cipher(const struct ob__stream *s, char *out, size_t cap)
{
	out[0] = '\0';
	if (ob__stream_is_secure(s)) {
		snprintf(out, cap, "%s %s", SSL_get_version(s->tls->ssl),
		         SSL_get_cipher_name(s->tls->ssl));
	}
}
