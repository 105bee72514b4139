/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F2.  How a stream speaks TLS: a context, and what starts it.
 *
 * A context is one side's settings: certificates, or TLS 1.3 with a key both sides have (an
 * external PSK).  It is made once and shared by many streams; its files can be read again at any
 * time, which the streams that are there do not notice.  ob__stream_tls() puts TLS below a stream;
 * everything above it, queue and marks included, counts plaintext and goes on as before.
 *
 * Ciphertext is made when the stream is flushed, in records as large as the queue allows, and what
 * is read is decrypted in the loop's shared buffer: a message allocates nothing (within OpenSSL 3.0
 * a record does, four times 40 bytes).  Renegotiation is refused, a close without TLS's own goodbye
 * is an error (see ob__stream_error()).
 */

#ifndef OB__TLS_H
#define OB__TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ob__stream;
struct ob__tls_ctx;

#define OB__TLS_PSK_KEY    32u
#define OB__TLS_PSK_ID_MAX 64u

/* The key for the identity that a peer names: 0, or negative when there is none.  Called within the
 * handshake of `s`: it must not close it. */
typedef int (*ob__tls_psk_find)(struct ob__stream *s, const uint8_t *id, size_t len,
                                uint8_t key[OB__TLS_PSK_KEY]);

/* Either certificates or a PSK.  Strings are copied. */
struct ob__tls_options {
	bool server;
	bool psk;            /* a key both sides have; TLS 1.3 with ephemeral keys (psk_dhe_ke) */
	bool only_13;        /* certificates: TLS 1.3 and nothing older; else 1.2 is spoken too */
	bool many;           /* of many connections most are idle: those hold no buffers */
	const char *cert;    /* PEM file, the chain behind it; a server needs one */
	const char *key;     /* PEM file; NULL: in `cert` */
	const char *ca;      /* PEM file of who may have signed the peer's certificate, which is
	                      * asked for and must be right; NULL: a server asks for none, a client
	                      * trusts what the system does */
	const char *ciphers; /* of TLS 1.2, as OpenSSL writes them; NULL: ECDHE with AES-GCM or
	                      * ChaCha20 */
	const char *alpn;    /* a server's one protocol (RFC 7301): a client that names others only
	                      * is refused; NULL: what it names is not looked at */
	ob__tls_psk_find psk_find; /* a server's */
};

/* NULL with a sentence in err that names the file and the reason. */
struct ob__tls_ctx *ob__tls_ctx_new(const struct ob__tls_options *options, char *err,
                                    size_t err_cap);

/* Reads the files again, for streams to come. 0; or -EINVAL with err, and nothing has changed. */
int ob__tls_ctx_reload(struct ob__tls_ctx *ctx, char *err, size_t err_cap);

/* The same in two steps, so that several are exchanged or none: what was read waits until it is
 * taken, or dropped. */
int ob__tls_ctx_read(struct ob__tls_ctx *ctx, char *err, size_t err_cap);
void ob__tls_ctx_take(struct ob__tls_ctx *ctx, bool take);

/* Streams that use it go on. NULL is accepted. */
void ob__tls_ctx_free(struct ob__tls_ctx *ctx);

/* What ob__stream_tls() is told. */
struct ob__tls_start {
	/* The handshake is done: what the peer showed is known, and data flows from now on.  May
	 * be NULL. */
	void (*on_secure)(struct ob__stream *s);
	uint64_t ms; /* for the handshake, from the connection on; 0: 10 s */

	/* A PSK client's. */
	uint8_t psk_id[OB__TLS_PSK_ID_MAX];
	size_t psk_id_len;
	uint8_t psk_key[OB__TLS_PSK_KEY];
};

#endif
