/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to net/tls and net/stream.  The TLS of one stream: tls.c has contexts, stream_tls.c the
 * stage between a socket and its queue.
 */

#ifndef OB__TLS_PRIV_H
#define OB__TLS_PRIV_H

#include <openssl/ssl.h>

#include "base/loop.h"
#include "net/tls.h"

struct ob__chunk;

/* Where ciphertext is read to: as far behind the start of the shared buffer as a record that was
 * incomplete so far is long, so that what is decrypted to the start never overtakes it. */
#define OB__TLS_READ_AT (20u << 10)

/* Records after which a new key is taken: far below what AES-GCM bears. */
#define OB__TLS_REKEY (1u << 22)

struct ob__tls {
	struct ob__stream *s;
	struct ob__tls_ctx *ctx;
	SSL *ssl;
	const uint8_t *in; /* ciphertext that was read and is not taken yet */
	size_t in_len;
	struct ob__chunk *out_head; /* ciphertext to be written */
	struct ob__chunk *out_tail;
	size_t out_len;
	size_t out_plain;            /* of the stream's queue, which that stands for */
	struct ob__timeout deadline; /* of the handshake */
	struct ob__tls_start start;
	ob__tls_psk_find psk_find;
	int over; /* UV_EOF or UV_EPROTO behind what was read, which is told there; 0: none yet */
	bool server;
	bool psk;
	bool begun;       /* the handshake, or its deadline */
	bool ready;       /* the handshake is done */
	bool heard;       /* the peer's first bytes were looked at */
	uint32_t records; /* encrypted with this key */
	bool no_key;      /* the peer named a PSK that is not known */
	bool plain;       /* the peer does not speak TLS: a last word goes out as it is */
	bool dead;        /* nothing more is encrypted or decrypted */
	bool bye;         /* our goodbye is in `out` or gone */
	char error[192];
};

/* A connection of the context, which `t` then holds too; NULL when out of memory. */
SSL *ob__tls_ssl_new(struct ob__tls_ctx *ctx, struct ob__tls *t);

/* Appends ciphertext for the socket; false when out of memory or beyond all reason. */
bool ob__tls_put(struct ob__tls *t, const uint8_t *data, size_t len);

#endif
