/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/link_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "lib/le.h"
#include "net/tls.h"

/* What a dialer calls its PSK: u64 own id | u64 the acceptor's id, 0 if it has never met it |
 * the name of the key; numbers little-endian. */
#define PSK_WHO    (8u + 8u)
#define PSK_ID_LEN (PSK_WHO + OB__HELLO_PSK_ID)

#define EXPORTER_PROOF "EXPORTER-obhost-link-1"
#define EXPORTER_KEY   "EXPORTER-obhost-link-key-1"

#define FIRST_BYTE 0x16u /* of TLS; no hello is as long as a frame that begins so */

/* ---------------------------------------------------------------- contexts */

/* Called within a handshake: notes why there is no key, and closes nothing. */
static int find_psk(struct ob__stream *s, const uint8_t *id, size_t len,
                    uint8_t key[OB__TLS_PSK_KEY])
{
	struct ob__link *l = s->owner;
	const struct ob__links *ls = l->links;
	uint64_t self = ls->registry->self.id;
	l->psk_refused = OB__LINK_WRONG_TOKEN;
	if (len != PSK_ID_LEN) {
		return -EINVAL;
	}
	l->psk_dialer = ob__get64(id);
	uint64_t acceptor = ob__get64(id + 8);
	if (l->psk_dialer == self || (acceptor != 0 && acceptor != self)) {
		l->psk_refused = OB__LINK_SELF;
		return -EINVAL;
	}
	for (size_t i = 0; i < ls->keys.len; i++) {
		const struct ob__link_key *k = &ls->keys.list[i];
		if ((!ls->keys.by_role || k->role[0] != '\0') &&
		    CRYPTO_memcmp(k->psk_id, id + PSK_WHO, sizeof(k->psk_id)) == 0) {
			memcpy(key, k->psk, sizeof(k->psk));
			l->psk_refused = 0;
			return 0;
		}
	}
	return -ENOENT;
}

static struct ob__tls_ctx *make(const struct ob__tls_options *o, const char *whose)
{
	char err[256];
	struct ob__tls_ctx *ctx = ob__tls_ctx_new(o, err, sizeof(err));
	if (ctx == NULL) {
		ob__error("link", "%s: tls: %s", whose, err);
	}
	return ctx;
}

struct ob__tls_ctx *ob__link_tls_files(const struct ob__link_files *files, bool server,
                                       const char *whose)
{
	const struct ob__tls_options o = {
		.server = server,
		.only_13 = true,
		.cert = files->cert,
		.key = files->key,
		.ca = files->ca,
	};
	if (files->cert == NULL || files->ca == NULL) {
		ob__error("link", "%s: tls: cert and ca are needed", whose);
		return NULL;
	}
	return make(&o, whose);
}

int ob__links_tls_new(struct ob__links *ls, const struct ob__link_files *files)
{
	const struct ob__tls_options accept_psk = {
		.server = true,
		.psk = true,
		.psk_find = find_psk,
	};
	const struct ob__tls_options dial_psk = {.psk = true};
	enum ob__link_security security = ls->options.security;
	if (security == OB__LINK_AS_NODE) {
		ls->options.security = OB__LINK_PLAIN;
	}
	ls->dial_psk = make(&dial_psk, "rpc");
	if (security == OB__LINK_PSK) {
		ls->accept_tls = make(&accept_psk, "rpc");
	} else if (security == OB__LINK_CERT) {
		ls->accept_tls = ob__link_tls_files(files, true, "rpc");
		ls->dial_tls =
			ls->accept_tls != NULL ? ob__link_tls_files(files, false, "rpc") : NULL;
	}
	bool ok = ls->dial_psk != NULL && (security != OB__LINK_PSK || ls->accept_tls != NULL) &&
	          (security != OB__LINK_CERT || ls->dial_tls != NULL);
	return ok ? 0 : -EINVAL;
}

int ob__links_tls_reload(struct ob__links *ls)
{
	char err[256];
	if (ls->options.security != OB__LINK_CERT) {
		return 0;
	}
	if (ob__tls_ctx_reload(ls->accept_tls, err, sizeof(err)) < 0 ||
	    ob__tls_ctx_reload(ls->dial_tls, err, sizeof(err)) < 0) {
		ob__error("link", "rpc: tls: %s; links to come use what was read before", err);
		return -EINVAL;
	}
	return 0;
}

void ob__links_tls_free(struct ob__links *ls)
{
	ob__tls_ctx_free(ls->accept_tls);
	ob__tls_ctx_free(ls->dial_tls);
	ob__tls_ctx_free(ls->dial_psk);
}

/* ---------------------------------------------------------------- the handshake */

/* What both ends now know, and nobody else. */
static void on_secure(struct ob__stream *s)
{
	struct ob__link *l = s->owner;
	bool with_token =
		l->dialer ? ob__remote_key(l->remote) != NULL : ob__link_keys_has(&l->links->keys);
	int rc = ob__stream_export(s, EXPORTER_PROOF, l->exporter, sizeof(l->exporter));
	if (rc == 0 && !with_token) {
		rc = ob__stream_export(s, EXPORTER_KEY, l->key, sizeof(l->key));
	}
	if (rc < 0) {
		ob__link_close(l, OB__LINK_TLS, "TLS gives no key");
		return;
	}
	l->exporter_len = sizeof(l->exporter);
	if (l->dialer) {
		ob__link_greet(l);
	}
}

static void name_psk(const struct ob__link *l, const struct ob__link_key *key,
                     struct ob__tls_start *start)
{
	ob__put64(start->psk_id, l->links->registry->self.id);
	ob__put64(start->psk_id + 8, ob__remote_expects(l->remote));
	memcpy(start->psk_id + PSK_WHO, key->psk_id, sizeof(key->psk_id));
	start->psk_id_len = PSK_ID_LEN;
	memcpy(start->psk_key, key->psk, sizeof(key->psk));
}

int ob__link_protect(struct ob__link *l)
{
	struct ob__tls_start start = {.on_secure = on_secure, .ms = l->links->options.hello_ms};
	struct ob__tls_ctx *ctx = l->links->accept_tls;
	if (l->dialer) {
		const struct ob__link_key *key = ob__remote_key(l->remote);
		ctx = ob__remote_tls(l->remote);
		if (key != NULL) {
			memcpy(l->key, key->key, sizeof(l->key));
		}
		if (ob__remote_security(l->remote) == OB__LINK_PSK) {
			if (key == NULL) {
				return -EINVAL;
			}
			name_psk(l, key, &start);
		}
	}
	int rc = ctx != NULL ? ob__stream_tls(&l->stream, ctx, &start) : 0;
	OPENSSL_cleanse(start.psk_key, sizeof(start.psk_key));
	return rc;
}

bool ob__link_is_tls(struct ob__link *l, const uint8_t *data)
{
	static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 70}; /* fatal: protocol version */
	if (l->dialer || l->stream.tls != NULL || l->frames_in > 0 || l->in.len > 0 ||
	    data[0] != FIRST_BYTE) {
		return false;
	}
	ob__stream_append(&l->stream, alert, sizeof(alert));
	ob__link_close_gently(l, OB__LINK_ENCRYPTED,
	                      "it speaks TLS, and the links of this node are plain");
	return true;
}

static bool check_certificate(struct ob__link *l)
{
	char uri[2 * OB__HELLO_NAME + 16];
	snprintf(uri, sizeof(uri), "obhost:%s/%s", l->theirs.role, l->theirs.name);
	if (ob__stream_peer_has_uri(&l->stream, uri)) {
		return true;
	}
	ob__link_refuse(l, OB__LINK_CERTIFICATE, "its certificate is not for %s", uri);
	return false;
}

bool ob__link_check_identity(struct ob__link *l)
{
	enum ob__link_security security =
		l->dialer ? ob__remote_security(l->remote) : l->links->options.security;
	if (security == OB__LINK_CERT) {
		return check_certificate(l);
	}
	if (security == OB__LINK_PSK && !l->dialer && l->psk_dialer != l->theirs.id) {
		ob__link_refuse(l, OB__LINK_BAD_HELLO,
		                "its hello names another node than its TLS handshake");
		return false;
	}
	return true;
}

/* ---------------------------------------------------------------- ends */

static void tls_failed(struct ob__link *l, const char *text)
{
	if (l->psk_refused == OB__LINK_SELF) {
		ob__link_close_gently(l, OB__LINK_SELF,
		                      "it is this node, or takes this node for another one");
	} else if (l->psk_refused != 0) {
		ob__link_close_gently(l, OB__LINK_WRONG_TOKEN, "wrong token: %s", text);
	} else {
		ob__link_close_gently(l, OB__LINK_TLS, "%s", text);
	}
}

void ob__link_on_end(struct ob__stream *s, int status)
{
	struct ob__link *l = s->owner;
	if (l->state == OB__LINK_LEAVING && l->peer->parted) {
		ob__link_close(l, OB__LINK_IDLE, "nobody used the link");
		return;
	}
	switch (status) {
	case UV_EOF:
		ob__link_close(l, OB__LINK_ENDED, "the other side closed the connection");
		return;
	case UV_EPROTONOSUPPORT:
		ob__link_refuse(l, OB__LINK_NOT_ENCRYPTED,
		                "this node's links are encrypted: set encode or tls as it does");
		return;
	case UV_EPROTO:
		tls_failed(l, ob__stream_error(s, status));
		return;
	case UV_ETIMEDOUT:
		if (l->state == OB__LINK_HELLO) {
			ob__link_close(l, OB__LINK_HELLO_TIMEOUT, "%s",
			               ob__stream_error(s, status));
			return;
		}
		break;
	default:
		break;
	}
	ob__link_close(l, OB__LINK_ENDED, "%s", ob__stream_error(s, status));
}
