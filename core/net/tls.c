/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/tls.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "net/tls_priv.h"

/* All of them with SHA-256, which a PSK is bound to. */
#define PSK_CIPHERS "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
#define OLD_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20" /* of TLS 1.2 */

struct ob__tls_ctx {
	uint32_t refs; /* the maker's, and one per stream */
	SSL_CTX *ssl;  /* what streams to come are made of */
	SSL_CTX *read; /* read anew and not taken yet, or NULL */
	BIO_METHOD *bio;
	struct ob__tls_options options;
	char *cert;
	char *key;
	char *ca;
	char *ciphers;
	char *alpn;
};

/* ---------------------------------------------------------------- bytes in and out */

static int bio_read(BIO *bio, char *out, int cap)
{
	struct ob__tls *t = BIO_get_data(bio);
	size_t n = t->in_len < (size_t)cap ? t->in_len : (size_t)cap;
	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(out, t->in, n);
	t->in += n;
	t->in_len -= n;
	return (int)n;
}

static int bio_write(BIO *bio, const char *data, int len)
{
	BIO_clear_retry_flags(bio);
	return ob__tls_put(BIO_get_data(bio), (const uint8_t *)data, (size_t)len) ? len : -1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "obhost stream");
	if (m != NULL) {
		BIO_meth_set_read(m, bio_read);
		BIO_meth_set_write(m, bio_write);
		BIO_meth_set_ctrl(m, bio_ctrl);
	}
	return m;
}

/* ---------------------------------------------------------------- a key both sides have */

/* What a PSK looks like to OpenSSL: a session that never was. */
static SSL_SESSION *psk_session(SSL *ssl, const uint8_t key[OB__TLS_PSK_KEY])
{
	static const uint8_t aes_128_gcm_sha256[] = {0x13, 0x01};
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
	SSL_SESSION *session = cipher != NULL ? SSL_SESSION_new() : NULL;
	if (session != NULL && SSL_SESSION_set1_master_key(session, key, OB__TLS_PSK_KEY) == 1 &&
	    SSL_SESSION_set_cipher(session, cipher) == 1 &&
	    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1) {
		return session;
	}
	SSL_SESSION_free(session);
	return NULL;
}

static int on_psk_use(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len,
                      SSL_SESSION **session)
{
	struct ob__tls *t = SSL_get_app_data(ssl);
	*session = NULL;
	if (md != NULL && EVP_MD_get_type(md) != NID_sha256) {
		return 0;
	}
	*session = psk_session(ssl, t->start.psk_key);
	*id = t->start.psk_id;
	*id_len = t->start.psk_id_len;
	return *session != NULL;
}

static int on_psk_find(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **session)
{
	struct ob__tls *t = SSL_get_app_data(ssl);
	uint8_t key[OB__TLS_PSK_KEY];
	*session = NULL;
	if (t->psk_find == NULL || t->psk_find(t->s, id, id_len, key) < 0) {
		t->no_key = true;
		return 1; /* goes on without, and fails for lack of a certificate */
	}
	*session = psk_session(ssl, key);
	OPENSSL_cleanse(key, sizeof(key));
	return *session != NULL;
}

static int set_psk(SSL_CTX *ctx, bool server)
{
	if (server) {
		SSL_CTX_set_psk_find_session_callback(ctx, on_psk_find);
	} else {
		/* A certificate, should one come, is trusted by nobody. */
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set_psk_use_session_callback(ctx, on_psk_use);
	}
	return SSL_CTX_set_ciphersuites(ctx, PSK_CIPHERS) == 1 ? 0 : -EINVAL;
}

/* ---------------------------------------------------------------- certificates */

static int no_passphrase(char *out, int cap, int writing, void *arg)
{
	(void)out;
	(void)cap;
	(void)writing;
	(void)arg;
	return -1;
}

static int complain(char *err, size_t cap, const char *file, const char *cure)
{
	unsigned long code = ERR_peek_error();
	const char *why = ERR_reason_error_string(code);
	if (ERR_SYSTEM_ERROR(code)) {
		why = strerror(ERR_GET_REASON(code));
	}
	snprintf(err, cap, "%s: %s%s", file, why != NULL ? why : "can't be used", cure);
	ERR_clear_error();
	return -EINVAL;
}

static int load_identity(SSL_CTX *ctx, const struct ob__tls_options *o, char *err, size_t cap)
{
	const char *key = o->key != NULL ? o->key : o->cert;
	if (o->cert == NULL) {
		if (!o->server) {
			return 0;
		}
		snprintf(err, cap, "a certificate is missing");
		return -EINVAL;
	}
	if (SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1) {
		return complain(err, cap, o->cert, " (a PEM certificate is wanted)");
	}
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		return complain(err, cap, key,
		                " (a PEM key of that certificate, without a passphrase, is "
		                "wanted)");
	}
	return 0;
}

static int set_certificates(SSL_CTX *ctx, const struct ob__tls_options *o, char *err, size_t cap)
{
	int rc = load_identity(ctx, o, err, cap);
	if (rc < 0) {
		return rc;
	}
	if (o->ca != NULL) {
		if (SSL_CTX_load_verify_file(ctx, o->ca) != 1) {
			return complain(err, cap, o->ca, " (PEM certificates are wanted)");
		}
		if (o->server) {
			SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(o->ca));
		}
	} else if (!o->server) {
		SSL_CTX_set_default_verify_paths(ctx);
	}
	if (o->ca != NULL || !o->server) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	if (o->ciphers != NULL && SSL_CTX_set_cipher_list(ctx, o->ciphers) != 1) {
		return complain(err, cap, o->ciphers, " (names of TLS 1.2 ciphers are wanted)");
	}
	return o->ciphers != NULL || SSL_CTX_set_cipher_list(ctx, OLD_CIPHERS) == 1 ? 0 : -EINVAL;
}

/* ---------------------------------------------------------------- what is spoken within */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
	const char *ours = arg;
	size_t len = strlen(ours);
	(void)ssl;
	for (unsigned at = 0; at < in_len; at += 1u + in[at]) {
		if (in[at] == len && at + 1 + len <= in_len &&
		    memcmp(in + at + 1, ours, len) == 0) {
			*out = in + at + 1;
			*out_len = in[at];
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---------------------------------------------------------------- contexts */

static SSL_CTX *make(const struct ob__tls_options *o, char *err, size_t cap)
{
	ERR_clear_error();
	SSL_CTX *ctx = SSL_CTX_new(o->server ? TLS_server_method() : TLS_client_method());
	if (ctx == NULL) {
		snprintf(err, cap, "out of memory");
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, o->psk || o->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (o->psk || o->ca != NULL) {
		/* Who proves something proves it each time. */
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		SSL_CTX_set_num_tickets(ctx, 0);
	}
	if (o->many) {
		SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	}
	if (o->server) {
		SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	}
	if (o->alpn != NULL) {
		SSL_CTX_set_alpn_select_cb(ctx, on_alpn, (void *)(uintptr_t)o->alpn);
	}
	err[0] = '\0';
	if ((o->psk ? set_psk(ctx, o->server) : set_certificates(ctx, o, err, cap)) == 0) {
		return ctx;
	}
	if (err[0] == '\0') {
		snprintf(err, cap, "this OpenSSL lacks a cipher that is needed");
	}
	SSL_CTX_free(ctx);
	return NULL;
}

static int copy(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from != NULL && *to == NULL ? -ENOMEM : 0;
}

struct ob__tls_ctx *ob__tls_ctx_new(const struct ob__tls_options *options, char *err,
                                    size_t err_cap)
{
	struct ob__tls_ctx *ctx = calloc(1, sizeof(*ctx));
	snprintf(err, err_cap, "out of memory");
	if (ctx == NULL) {
		return NULL;
	}
	ctx->refs = 1;
	ctx->options = *options;
	ctx->bio = bio_method();
	if (ctx->bio == NULL || copy(&ctx->cert, options->cert) < 0 ||
	    copy(&ctx->key, options->key) < 0 || copy(&ctx->ca, options->ca) < 0 ||
	    copy(&ctx->ciphers, options->ciphers) < 0 || copy(&ctx->alpn, options->alpn) < 0) {
		ob__tls_ctx_free(ctx);
		return NULL;
	}
	ctx->options.cert = ctx->cert;
	ctx->options.key = ctx->key;
	ctx->options.ca = ctx->ca;
	ctx->options.ciphers = ctx->ciphers;
	ctx->options.alpn = ctx->alpn;
	ctx->ssl = make(&ctx->options, err, err_cap);
	if (ctx->ssl == NULL) {
		ob__tls_ctx_free(ctx);
		return NULL;
	}
	return ctx;
}

int ob__tls_ctx_read(struct ob__tls_ctx *ctx, char *err, size_t err_cap)
{
	ob__tls_ctx_take(ctx, false);
	ctx->read = make(&ctx->options, err, err_cap);
	return ctx->read != NULL ? 0 : -EINVAL;
}

void ob__tls_ctx_take(struct ob__tls_ctx *ctx, bool take)
{
	SSL_CTX *old = ctx->read;
	if (take && ctx->read != NULL) {
		old = ctx->ssl; /* streams hold it too */
		ctx->ssl = ctx->read;
	}
	SSL_CTX_free(old);
	ctx->read = NULL;
}

int ob__tls_ctx_reload(struct ob__tls_ctx *ctx, char *err, size_t err_cap)
{
	int rc = ob__tls_ctx_read(ctx, err, err_cap);
	ob__tls_ctx_take(ctx, rc == 0);
	return rc;
}

void ob__tls_ctx_free(struct ob__tls_ctx *ctx)
{
	if (ctx == NULL || --ctx->refs > 0) {
		return;
	}
	SSL_CTX_free(ctx->ssl);
	SSL_CTX_free(ctx->read);
	BIO_meth_free(ctx->bio);
	free(ctx->cert);
	free(ctx->key);
	free(ctx->ca);
	free(ctx->ciphers);
	free(ctx->alpn);
	free(ctx);
}

SSL *ob__tls_ssl_new(struct ob__tls_ctx *ctx, struct ob__tls *t)
{
	SSL *ssl = SSL_new(ctx->ssl);
	BIO *bio = ssl != NULL ? BIO_new(ctx->bio) : NULL;
	if (bio == NULL) {
		SSL_free(ssl);
		return NULL;
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_app_data(ssl, t);
	ctx->refs++;
	t->ctx = ctx;
	t->server = ctx->options.server;
	t->psk = ctx->options.psk;
	t->psk_find = ctx->options.psk_find;
	if (t->server) {
		SSL_set_accept_state(ssl);
	} else {
		SSL_set_connect_state(ssl);
	}
	return ssl;
}
