/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Where clients connect: one listener, of the configuration or of a module (ob_listen), and all of
 * the configuration's. */

#include "host/conf/nodeconf_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "lib/origin.h"
#include "net/tls.h"

#define DEFAULT_CODEC "obespoir"
#define RATES_MAX     64u

uint8_t ob__listen_kind(const char *transport)
{
	static const struct {
		const char *name;
		uint8_t kind;
	} kinds[] = {
		{"ws", OB__LISTEN_WS},
		{"wss", OB__LISTEN_WS | OB__LISTEN_TLS},
		{"tcp", OB__LISTEN_RAW},
		{"tls", OB__LISTEN_RAW | OB__LISTEN_TLS},
		{"tcp+ws", OB__LISTEN_RAW | OB__LISTEN_WS},
		{"tls+wss", OB__LISTEN_RAW | OB__LISTEN_WS | OB__LISTEN_TLS},
		{"unix", OB__LISTEN_RAW | OB__LISTEN_UNIX},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, transport) == 0) {
			return kinds[i].kind;
		}
	}
	return 0;
}

const char *ob__listen_transport(uint8_t kind, bool is_ws)
{
	bool tls = (kind & OB__LISTEN_TLS) != 0;

	if ((kind & OB__LISTEN_UNIX) != 0) {
		return "unix";
	}
	return is_ws ? (tls ? "wss" : "ws") : tls ? "tls" : "tcp";
}

struct part {
	struct ob__listen_conf *l;
	const json_t *item;
	ob__listen_wrong wrong;
	void *arg;
};

static void copy(struct part *p, const char *key, char **to)
{
	const char *text = ob__conf_str(p->item, key, NULL);

	*to = text != NULL ? strdup(text) : NULL;
	if (text != NULL && *to == NULL) {
		p->wrong(p->arg, key, "out of memory");
	}
}

/* ---- certificates ---- */

struct ob__tls_ctx *ob__listen_conf_tls(const struct ob__listen_conf *l, char *err, size_t cap)
{
	const struct ob__tls_options o = {
		.server = true,
		.many = true,
		.cert = l->tls_cert,
		.key = l->tls_key,
		.ca = l->tls_ca,
		.ciphers = l->tls_ciphers,
		.alpn = l->kind == (OB__LISTEN_WS | OB__LISTEN_TLS) ? "http/1.1" : NULL,
	};

	return ob__tls_ctx_new(&o, err, cap);
}

/* Whether the files can be used is seen now, and not when the first client comes. */
static void read_tls(struct part *p)
{
	bool wants = (p->l->kind & OB__LISTEN_TLS) != 0;
	bool has = json_object_get(p->item, "tls") != NULL;
	char err[256];

	if (wants != has) {
		p->wrong(p->arg, "tls",
		         wants ? "is missing: transport wss and tls need a certificate"
		               : "goes with transport wss, tls and tls+wss, and only with them");
		return;
	}
	if (!has) {
		return;
	}
	copy(p, "tls.cert", &p->l->tls_cert);
	copy(p, "tls.key", &p->l->tls_key);
	copy(p, "tls.ca", &p->l->tls_ca);
	copy(p, "tls.ciphers", &p->l->tls_ciphers);
	struct ob__tls_ctx *ctx = ob__listen_conf_tls(p->l, err, sizeof(err));
	if (ctx == NULL) {
		p->wrong(p->arg, "tls", err);
	}
	ob__tls_ctx_free(ctx);
}

/* ---- bounds ---- */

static void read_per_id(struct part *p)
{
	const json_t *list = ob__conf_get(p->item, "limits.per_id");
	size_t n = json_array_size(list);
	int rc = 0;

	p->l->rates = calloc(n + 1, sizeof(*p->l->rates));
	if (p->l->rates == NULL || n > RATES_MAX) {
		p->wrong(p->arg, "limits.per_id",
		         n > RATES_MAX ? "has more than 64 ranges" : "out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const json_t *one = json_array_get(list, i);
		const json_t *range = json_object_get(one, "range");
		uint32_t rate = (uint32_t)ob__conf_int(one, "per_second", 1);
		p->l->rates[i].per_second = rate;
		p->l->rates[i].burst = (uint32_t)ob__conf_int(one, "burst", rate);
		rc |= ob__idrange_add(
			&p->l->per_id, (uint32_t)json_integer_value(json_array_get(range, 0)),
			(uint32_t)json_integer_value(json_array_get(range, 1)), (uint32_t)i);
	}
	p->l->rates_len = n;
	if (rc != 0 || ob__idrange_seal(&p->l->per_id, NULL, NULL) != 0) {
		p->wrong(p->arg, "limits.per_id", "can't be taken");
	}
}

static void read_limits(struct part *p)
{
	struct ob__listen_conf *l = p->l;
	uint32_t rate = (uint32_t)ob__conf_int(p->item, "limits.messages_per_second", 0);
	uint32_t burst = (uint32_t)ob__conf_int(p->item, "limits.burst", 0);

	l->rate = (struct ob__listen_rate){rate, burst != 0 ? burst : rate};
	l->close_excess = strcmp(ob__conf_str(p->item, "limits.excess", "refuse"), "close") == 0;
	l->connections = (uint32_t)ob__conf_int(p->item, "limits.connections", 0);
	l->per_address = (uint32_t)ob__conf_int(p->item, "limits.per_address", 0);
	l->message = (size_t)ob__conf_int(p->item, "limits.message", 0);
	l->packet_ms = ob__conf_ms(p->item, "limits.packet_timeout", OB__PACKET_MS);
	l->first_ms = ob__conf_ms(p->item, "limits.first_message", 0);
	l->send_ms = ob__conf_ms(p->item, "limits.send_timeout", OB__SEND_MS);
	if (burst != 0 && rate == 0) {
		p->wrong(p->arg, "limits.burst", "goes with limits.messages_per_second");
	}
	if (l->message != 0 && l->message < 64) {
		p->wrong(p->arg, "limits.message", "must be 64 at least");
	}
	read_per_id(p);
	p->l->handshake_ms = ob__conf_ms(p->item, "limits.handshake_timeout", OB__HANDSHAKE_MS);
	if (p->l->handshake_ms == 0) {
		p->wrong(p->arg, "limits.handshake_timeout",
		         "must be above 0: every newcomer needs a deadline");
	}
}

/* ---- who may come ---- */

static void read_trusted(struct part *p)
{
	const json_t *list = json_object_get(p->item, "proxy_protocol");
	size_t n = json_array_size(list);

	if (n > 0 && (p->l->kind & OB__LISTEN_MODULE) != 0) {
		p->wrong(p->arg, "proxy_protocol",
		         "is not for a module's transport, which says itself who is there");
	}
	p->l->trusted = calloc(n + 1, sizeof(*p->l->trusted));
	for (size_t i = 0; p->l->trusted != NULL && i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (strcmp(text, "unix") == 0) {
			p->l->trusts_unix = true;
		} else if (ob__cidr_parse(&p->l->trusted[p->l->trusted_len], text) == 0) {
			p->l->trusted_len++;
		} else {
			p->wrong(p->arg, "proxy_protocol",
			         "must have addresses, ranges as 10.0.0.0/8, or unix");
		}
	}
}

static void read_origins(struct part *p)
{
	json_t *list = json_object_get(p->item, "origins");
	size_t i;
	json_t *one;

	if (list == NULL) {
		return;
	}
	p->l->origins = json_deep_copy(list);
	json_array_foreach (list, i, one) {
		if (!ob__origin_pattern_ok(json_string_value(one))) {
			p->wrong(p->arg, "origins",
			         "must have origins as https://example.org, hosts, or *.HOST");
		}
	}
	if ((p->l->kind & OB__LISTEN_WS) == 0) {
		p->wrong(p->arg, "origins", "are of WebSocket's handshake: this is none");
	} else if (p->l->origins == NULL) {
		p->wrong(p->arg, "origins", "out of memory");
	}
}

static void read_deflate(struct part *p)
{
	struct ob__listen_conf *l = p->l;

	l->deflate = ob__conf_bool(p->item, "deflate.enabled", false);
	l->deflate_level = (uint8_t)ob__conf_int(p->item, "deflate.level", 6);
	l->deflate_min = (size_t)ob__conf_int(p->item, "deflate.min", 256);
	l->deflate_memory = (size_t)ob__conf_int(p->item, "deflate.memory", 4 << 20);
	if (json_object_get(p->item, "deflate") != NULL && (l->kind & OB__LISTEN_WS) == 0) {
		p->wrong(p->arg, "deflate", "is of WebSocket's messages: this is none");
	}
}

bool ob__listen_conf_origin_ok(const struct ob__listen_conf *l, const char *origin)
{
	size_t i;
	json_t *one;

	if (l->origins == NULL || origin == NULL) {
		return true;
	}
	json_array_foreach (l->origins, i, one) {
		if (ob__origin_matches(json_string_value(one), origin)) {
			return true;
		}
	}
	return false;
}

/* ---- all of it ---- */

int ob__listen_conf_init(struct ob__listen_conf *l)
{
	l->handshake_ms = OB__HANDSHAKE_MS;
	l->packet_ms = OB__PACKET_MS;
	l->send_ms = OB__SEND_MS;
	ob__idrange_init(&l->per_id);
	return ob__idrange_seal(&l->per_id, NULL, NULL) == 0 ? 0 : OB_E_NOMEM;
}

void ob__listen_conf_read(struct ob__listen_conf *l, const json_t *item, ob__listen_wrong wrong,
                          void *arg)
{
	struct part p = {.l = l, .item = item, .wrong = wrong, .arg = arg};

	l->kind = l->transport != NULL ? ob__listen_kind(l->transport) : 0;
	if (l->kind == 0) {
		l->kind = OB__LISTEN_RAW | OB__LISTEN_MODULE;
	}
	ob__idrange_init(&l->per_id);
	read_tls(&p);
	read_trusted(&p);
	read_origins(&p);
	read_deflate(&p);
	read_limits(&p);
}

void ob__listen_conf_free(struct ob__listen_conf *l)
{
	ob__idrange_free(&l->no_state);
	free(l->transport);
	free(l->codec);
	free(l->host);
	free(l->path);
	free(l->token);
	json_decref(l->codec_conf);
	free(l->tls_cert);
	free(l->tls_key);
	free(l->tls_ca);
	free(l->tls_ciphers);
	free(l->trusted);
	json_decref(l->origins);
	free(l->rates);
	ob__idrange_free(&l->per_id);
}

/* ---- all of them ---- */

/* Ids as [lo, hi] pairs under `range` and numbers under `special`, into one table. */
static void read_no_state(struct ob__reading *r, const json_t *no_state, struct ob__idrange *t)
{
	size_t i;
	json_t *item;
	int rc = 0;

	ob__idrange_init(t);
	json_array_foreach (json_object_get(no_state, "range"), i, item) {
		rc |= ob__idrange_add(t, (uint32_t)json_integer_value(json_array_get(item, 0)),
		                      (uint32_t)json_integer_value(json_array_get(item, 1)), 1);
	}
	json_array_foreach (json_object_get(no_state, "special"), i, item) {
		rc |= ob__idrange_add_special(t, (uint32_t)json_integer_value(item), 1);
	}
	if (rc != 0 || ob__idrange_seal(t, NULL, NULL) != 0) {
		ob__nodeconf_wrong(r, "websocket.no_state", "too many entries");
	}
}

static void read_listen(struct ob__reading *r, const json_t *item, const char *where,
                        struct ob__listen_conf *l)
{
	const char *path = ob__conf_str(item, "path", NULL);
	const char *token = ob__conf_str(item, "token", NULL);

	l->where = where;
	l->transport = strdup(ob__conf_str(item, "transport", "ws"));
	l->codec = strdup(ob__conf_str(item, "codec", DEFAULT_CODEC));
	l->host = strdup(ob__conf_str(item, "host", r->c->host));
	l->path = path != NULL ? strdup(path) : NULL;
	l->port = (int)ob__conf_int(item, "port", 0);
	l->reuseport = ob__conf_bool(item, "reuseport", false);
	l->timeout_ms = ob__conf_ms(item, "timeout", 300000);
	l->encode = (uint32_t)ob__conf_int(item, "encode", 0);
	l->codec_conf = json_incref(json_object_get(item, "codec_conf"));
	read_no_state(r, json_object_get(item, "no_state"), &l->no_state);
	l->token = token != NULL ? strdup(token) : NULL;
	if (l->transport == NULL || l->codec == NULL || l->host == NULL ||
	    (path != NULL && l->path == NULL) || (token != NULL && l->token == NULL)) {
		ob__nodeconf_wrong(r, where, "out of memory");
		return;
	}
	bool is_unix = (ob__listen_kind(l->transport) & OB__LISTEN_UNIX) != 0;
	if (is_unix != (l->path != NULL)) {
		ob__nodeconf_wrong(r, where, "path goes with transport \"unix\", and only with it");
	}
	if (!ob__nodeconf_word_ok(l->codec)) {
		ob__nodeconf_wrong(r, where, "codec must be letters, digits, '.', '_' or '-'");
	}
	if (l->codec_conf != NULL && !json_is_object(l->codec_conf)) {
		ob__nodeconf_wrong(r, where, "codec_conf must be an object");
	}
}

struct place {
	struct ob__reading *r;
	char path[32];
};

static void wrong_in(void *arg, const char *key, const char *text)
{
	struct place *p = arg;
	char path[96];

	snprintf(path, sizeof(path), "%s.%s", p->path, key);
	ob__nodeconf_wrong(p->r, path, text);
}

void ob__nodeconf_read_listens(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = json_object_get(c->root, "listen");
	const json_t *ws = json_object_get(c->root, "websocket");
	bool has_ws = ob__conf_int(c->root, "websocket.port", 0) != 0;

	c->listens = calloc(json_array_size(list) + 1, sizeof(*c->listens));
	if (c->listens == NULL) {
		ob__nodeconf_wrong(r, "listen", "out of memory");
		return;
	}
	if (has_ws) {
		struct place p = {r, "websocket"};
		read_listen(r, ws, "websocket", &c->listens[c->listens_len]);
		ob__listen_conf_read(&c->listens[c->listens_len++], ws, wrong_in, &p);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct place p = {r, ""};
		snprintf(p.path, sizeof(p.path), "listen[%zu]", i);
		read_listen(r, item, "listen", &c->listens[c->listens_len]);
		ob__listen_conf_read(&c->listens[c->listens_len++], item, wrong_in, &p);
	}
}
