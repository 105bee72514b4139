/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* What is about other nodes: links, who may come, where messages go. */

#include "host/conf/nodeconf_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "host/cluster/transport.h"
#include "mesh/dialer.h"
#include "mesh/hello.h"
#include "net/tls.h"

static void check_token(struct ob__reading *r, const char *path, const char *token)
{
	if (strlen(token) < OB__HELLO_TOKEN_MIN) {
		ob__nodeconf_wrong(r, path, "must have at least 16 bytes");
	} else if (strcmp(token, OB__SEED_TOKEN) == 0 && !ob__host_is_loopback(r->c->host)) {
		ob__conf_complain(r->c->file, r->report, r->arg, OB__CONF_WARNING, path,
		                  "is the well-known demo token; choose one of your own");
	}
}

/* The token with which this node dials, if an entry has none of its own. */
static bool has_dial_token(const struct ob__nodeconf *c)
{
	for (size_t i = 0; i < c->rpc_tokens_len; i++) {
		if (strcmp(c->rpc_tokens[i].role, c->role) == 0) {
			return true;
		}
	}
	return c->rpc_token != NULL;
}

/* Whether the files can be used is seen now, and not when a link is to come up. */
static void check_files(struct ob__reading *r, const char *path, const struct ob__link_files *files)
{
	const struct ob__tls_options o = {
		.server = true,
		.only_13 = true,
		.cert = files->cert,
		.key = files->key,
		.ca = files->ca,
	};
	char err[256];
	struct ob__tls_ctx *ctx = ob__tls_ctx_new(&o, err, sizeof(err));

	if (ctx == NULL) {
		ob__nodeconf_wrong(r, path, err);
	}
	ob__tls_ctx_free(ctx);
}

/* The encode and tls of `j`, which is at `prefix` in the file. */
static void read_security(struct ob__reading *r, const json_t *j, const char *prefix,
                          enum ob__link_security absent, struct ob__security_conf *s)
{
	char path[80];

	s->mode = absent;
	if (json_object_get(j, "encode") != NULL) {
		s->mode = ob__conf_int(j, "encode", 0) != 0 ? OB__LINK_PSK : OB__LINK_PLAIN;
	}
	if (json_object_get(j, "tls") == NULL) {
		return;
	}
	snprintf(path, sizeof(path), "%stls", prefix);
	if (s->mode == OB__LINK_PSK) {
		ob__nodeconf_wrong(r, path, "and encode are two ways to encrypt; choose one");
	}
	s->mode = OB__LINK_CERT;
	s->files = (struct ob__link_files){
		.cert = ob__conf_str(j, "tls.cert", NULL),
		.key = ob__conf_str(j, "tls.key", NULL),
		.ca = ob__conf_str(j, "tls.ca", NULL),
	};
	check_files(r, path, &s->files);
}

static void read_role_token(struct ob__reading *r, const char *role, const json_t *value,
                            struct ob__role_token *t)
{
	size_t n = json_is_array(value) ? json_array_size(value) : 1;
	char path[OB__HELLO_NAME + 32];

	if (!ob__nodeconf_word_ok(role)) {
		ob__nodeconf_wrong(r, "rpc.tokens", "has a role that is no word");
		return;
	}
	t->role = role;
	snprintf(path, sizeof(path), "rpc.tokens.%s", role);
	if (n < 1 || n > 2) {
		ob__nodeconf_wrong(r, path, "must be one token, or two while it is being changed");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		t->token[i] =
			json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
		check_token(r, path, t->token[i]);
	}
}

static void read_tokens(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	json_t *map = (json_t *)(uintptr_t)ob__conf_get(c->root, "rpc.tokens");
	const char *role;
	json_t *value;

	c->rpc_tokens = calloc(json_object_size(map) + 1, sizeof(*c->rpc_tokens));
	if (c->rpc_tokens == NULL) {
		ob__nodeconf_wrong(r, "rpc.tokens", "out of memory");
		return;
	}
	json_object_foreach (map, role, value) {
		read_role_token(r, role, value, &c->rpc_tokens[c->rpc_tokens_len++]);
	}
}

/* A transport that a module offers, and one of its addresses; which module is not known here. */
static void read_way(struct ob__reading *r, const json_t *item, const char *place,
                     struct ob__transport_way *way)
{
	char path[80];

	way->transport = ob__conf_str(item, "transport", "");
	way->address = ob__conf_str(item, "address", "");
	snprintf(path, sizeof(path), "%stransport", place);
	if (!ob__nodeconf_word_ok(way->transport) || strchr(way->transport, '.') != NULL) {
		ob__nodeconf_wrong(r, path, "a transport's name is letters, digits, '_' or '-'");
	}
	snprintf(path, sizeof(path), "%saddress", place);
	if (!ob__transport_address_ok(way->address)) {
		ob__nodeconf_wrong(r, path, "must be 1 to 107 printable ASCII characters");
	}
}

static void read_host(struct ob__reading *r, const json_t *item, const char *place,
                      struct ob__remote_conf *m)
{
	const char *text = ob__conf_str(item, "address", NULL);
	struct ob__address a = {.kind = OB__ADDRESS_OTHER};
	char full[OB__MEMBER_ADDRESS];
	char path[80];

	m->host = ob__conf_str(item, "host", "127.0.0.1");
	m->port = (int)ob__conf_int(item, "port", 0);
	if (text == NULL) {
		snprintf(path, sizeof(path), "%sport", place);
		if (m->port == 0) {
			ob__nodeconf_wrong(r, path, "missing");
		}
		return;
	}
	snprintf(path, sizeof(path), "%saddress", place);
	if (snprintf(full, sizeof(full), "tcp %s", text) >= (int)sizeof(full) ||
	    ob__address_get(&a, full) != 0) {
		ob__nodeconf_wrong(r, path, "of tcp is HOST:PORT or [HOST]:PORT");
		return;
	}
	m->host = m->host_text = strdup(a.host);
	m->port = a.port;
	if (m->host == NULL) {
		ob__nodeconf_wrong(r, path, "out of memory");
	}
}

/* Where the node is: one address, in one of the ways to write it. */
static void read_where(struct ob__reading *r, const json_t *item, const char *place,
                       struct ob__remote_conf *m)
{
	const char *path = ob__conf_str(item, "path", NULL);
	const char *address = ob__conf_str(item, "address", NULL);
	const char *transport = ob__conf_str(item, "transport", path != NULL ? "unix" : "tcp");
	bool is_tcp = strcmp(transport, "tcp") == 0;
	bool is_unix = strcmp(transport, "unix") == 0;
	char where[80];

	snprintf(where, sizeof(where), "%saddress", place);
	if ((path != NULL && (!is_unix || address != NULL)) ||
	    ((json_object_get(item, "host") != NULL || json_object_get(item, "port") != NULL) &&
	     (!is_tcp || address != NULL))) {
		ob__nodeconf_wrong(
			r, where,
			"stands alone: host and port go with transport tcp, path with unix");
	}
	if (is_tcp) {
		read_host(r, item, place, m);
	} else if (is_unix) {
		m->path = path != NULL ? path : address;
		if (m->path == NULL || m->path[0] != '/' ||
		    strlen(m->path) >= sizeof(((struct ob__address *)NULL)->path)) {
			ob__nodeconf_wrong(r, where, "of unix is the path of a socket, from / on");
		}
	} else {
		read_way(r, item, place, &m->way);
	}
}

static void read_rpc_listens(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = ob__conf_get(c->root, "rpc.listen");
	size_t told = json_array_size(list) + (c->rpc_port != 0) + c->rpc_unix;

	c->rpc_listens = calloc(json_array_size(list) + 1, sizeof(*c->rpc_listens));
	if (c->rpc_listens == NULL) {
		ob__nodeconf_wrong(r, "rpc.listen", "out of memory");
		return;
	}
	if (json_array_size(list) > 0 && told > OB__MEMBER_ADDRESSES) {
		ob__nodeconf_wrong(r, "rpc.listen",
		                   "makes more than 4 addresses, with rpc.port and rpc.unix");
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct ob__rpc_listen_conf *l = &c->rpc_listens[c->rpc_listens_len++];
		char path[64];
		snprintf(path, sizeof(path), "rpc.listen[%zu].", i);
		read_way(r, item, path, &l->way);
		if (ob__transport_built_in(l->way.transport)) {
			snprintf(path, sizeof(path), "rpc.listen[%zu].transport", i);
			ob__nodeconf_wrong(r, path, "is built in: that is rpc.port, or rpc.unix");
		}
		l->told = ob__conf_str(item, "told", l->way.address);
		if (!ob__transport_address_ok(l->told)) {
			snprintf(path, sizeof(path), "rpc.listen[%zu].told", i);
			ob__nodeconf_wrong(r, path, "must be 1 to 107 printable ASCII characters");
		}
	}
}

static void read_remotes(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = json_object_get(c->root, "remote_ports");

	c->remotes = calloc(json_array_size(list) + 1, sizeof(*c->remotes));
	if (c->remotes == NULL) {
		ob__nodeconf_wrong(r, "remote_ports", "out of memory");
		return;
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct ob__remote_conf *m = &c->remotes[c->remotes_len++];
		char path[64];

		m->role = ob__conf_str(item, "type", NULL);
		m->token = ob__conf_str(item, "token", NULL);
		snprintf(path, sizeof(path), "remote_ports[%zu].", i);
		read_where(r, item, path, m);
		read_security(r, item, path, OB__LINK_AS_NODE, &m->security);
		bool by_cert = m->security.mode == OB__LINK_CERT ||
		               (m->security.mode == OB__LINK_AS_NODE &&
		                c->rpc_security.mode == OB__LINK_CERT);
		snprintf(path, sizeof(path), "remote_ports[%zu].token", i);
		if (m->token != NULL) {
			check_token(r, path, m->token);
		} else if (!has_dial_token(c) && !by_cert) {
			ob__nodeconf_wrong(r, path, "is missing, and there is no rpc.token");
		}
	}
}

#define POLICY_NAME "a policy's name is letters, digits, '_' or '-'"

static bool policy_ok(const json_t *name)
{
	return ob__nodeconf_word_ok(json_string_value(name)) &&
	       strchr(json_string_value(name), '.') == NULL;
}

static void read_policy_ranges(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = ob__conf_get(c->root, "rpc.policy_range");
	size_t i;
	json_t *item;
	int rc = 0;

	ob__idrange_init(&c->policy_range);
	c->choosers = calloc(json_array_size(list) + 1, sizeof(*c->choosers));
	if (c->choosers == NULL) {
		ob__nodeconf_wrong(r, "rpc.policy_range", "out of memory");
		return;
	}
	c->choosers_len = json_array_size(list);
	json_array_foreach (list, i, item) {
		const json_t *range = json_object_get(item, "range");
		if (!policy_ok(json_object_get(item, "policy"))) {
			ob__nodeconf_wrong(r, "rpc.policy_range", POLICY_NAME);
		}
		rc |= ob__idrange_add(
			&c->policy_range, (uint32_t)json_integer_value(json_array_get(range, 0)),
			(uint32_t)json_integer_value(json_array_get(range, 1)), (uint32_t)i);
	}
	if (rc != 0 || ob__idrange_seal(&c->policy_range, NULL, NULL) != 0) {
		ob__nodeconf_wrong(r, "rpc.policy_range", "has too many entries");
	}
}

static void read_policies(struct ob__reading *r)
{
	const char *role;
	json_t *name;

	json_object_foreach ((json_t *)(uintptr_t)ob__conf_get(r->c->root, "rpc.policy"), role,
	                     name) {
		if (!ob__nodeconf_word_ok(role)) {
			ob__nodeconf_wrong(r, "rpc.policy", "has a role that is no word");
		} else if (!policy_ok(name)) {
			ob__nodeconf_wrong(r, "rpc.policy", POLICY_NAME);
		}
	}
	read_policy_ranges(r);
}

static void check_allow(struct ob__reading *r)
{
	const char *role;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)ob__conf_get(r->c->root, "rpc.allow"), role,
	                     value) {
		if (strcmp(role, "*") != 0 && !ob__nodeconf_word_ok(role)) {
			ob__nodeconf_wrong(r, "rpc.allow", "has a role that is no word");
		}
	}
}

static void read_sticky(struct ob__reading *r)
{
	static const char *const words[] = {"move", "fail", "wait", "off"};
	struct ob__nodeconf *c = r->c;
	size_t i;
	json_t *item;
	int rc = 0;

	c->sticky_wait_ms = ob__conf_ms(c->root, "rpc.sticky_wait", 3000);
	ob__idrange_init(&c->sticky);
	json_array_foreach (ob__conf_get(c->root, "rpc.sticky"), i, item) {
		const json_t *range = json_object_get(item, "range");
		const char *lost = ob__conf_str(item, "lost", words[0]);
		uint32_t rule = 0;
		while (rule < OB__LOST_OFF && strcmp(words[rule], lost) != 0) {
			rule++;
		}
		if (strcmp(ob__conf_str(item, "by", "session"), "user") == 0) {
			rule |= OB__STICKY_BY_USER;
			c->sticky_by_user = true;
		}
		rc |= ob__idrange_add(&c->sticky,
		                      (uint32_t)json_integer_value(json_array_get(range, 0)),
		                      (uint32_t)json_integer_value(json_array_get(range, 1)), rule);
	}
	if (rc != 0 || ob__idrange_seal(&c->sticky, NULL, NULL) != 0) {
		ob__nodeconf_wrong(r, "rpc.sticky", "has too many entries");
	}
}

/* "HOST", "HOST:PORT", "[::1]:PORT", "::1". */
static void read_address(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const char *text = ob__conf_str(c->root, "rpc.address", NULL);
	struct ob__address a = {.kind = OB__ADDRESS_TCP};
	char full[OB__MEMBER_ADDRESS];
	const char *colon = text != NULL ? strrchr(text, ':') : NULL;

	c->rpc_address_port = c->rpc_port;
	if (text == NULL) {
		bool all = strcmp(c->host, "0.0.0.0") == 0 || strcmp(c->host, "::") == 0;
		c->rpc_address = all ? NULL : c->host;
		return;
	}
	bool has_port = colon != NULL && (text[0] == '[' || strchr(text, ':') == colon);
	snprintf(full, sizeof(full), has_port ? "tcp %s" : "tcp %s:1", text);
	if (strlen(text) + 7 > sizeof(full) || (!has_port && colon != NULL) ||
	    ob__address_get(&a, full) != 0) {
		ob__nodeconf_wrong(r, "rpc.address", "must be HOST, HOST:PORT or [HOST]:PORT");
		return;
	}
	c->rpc_address = c->rpc_host_text = strdup(a.host);
	c->rpc_address_port = has_port ? a.port : c->rpc_port;
	if (c->rpc_address == NULL) {
		ob__nodeconf_wrong(r, "rpc.address", "out of memory");
	}
}

static void read_member(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = ob__conf_get(c->root, "rpc.serve");
	size_t i;
	json_t *pair;

	c->rpc_unix = ob__conf_bool(c->root, "rpc.unix", c->rpc_port != 0);
	c->link_idle_ms = ob__conf_ms(c->root, "rpc.idle", OB__DIALER_IDLE_MS);
	c->weight = (uint32_t)ob__conf_int(c->root, "rpc.weight", OB__MEMBER_WEIGHT);
	read_address(r);
	c->serve = calloc(json_array_size(list) + 1, sizeof(*c->serve));
	if (c->serve == NULL || json_array_size(list) > OB__MEMBER_RANGES) {
		ob__nodeconf_wrong(r, "rpc.serve", "has more than 32 ranges");
		return;
	}
	json_array_foreach (list, i, pair) {
		c->serve[c->serve_len++] = (struct ob__member_range){
			(uint32_t)json_integer_value(json_array_get(pair, 0)),
			(uint32_t)json_integer_value(json_array_get(pair, 1)),
		};
	}
}

void ob__nodeconf_read_mesh(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;

	c->rpc_port = (int)ob__conf_int(c->root, "rpc.port", 0);
	c->rpc_token = ob__conf_str(c->root, "rpc.token", NULL);
	c->reconnect_ms = ob__conf_ms(c->root, "rpc.reconnect_time", 5000);
	c->key_ms = ob__conf_ms(c->root, "rpc.key_time", 60000);
	c->too_busy_ms = ob__conf_ms(c->root, "rpc.too_busy", 0);
	c->call_slow_ms = ob__conf_ms(c->root, "rpc.log.slow", 0);
	c->call_log_failed = json_is_true(ob__conf_get(c->root, "rpc.log.failed"));
	read_tokens(r);
	read_security(r, json_object_get(c->root, "rpc"), "rpc.", OB__LINK_PLAIN, &c->rpc_security);
	bool listens = c->rpc_port != 0 || json_array_size(ob__conf_get(c->root, "rpc.listen")) > 0;
	if (listens && c->rpc_token == NULL && c->rpc_tokens_len == 0 &&
	    c->rpc_security.mode != OB__LINK_CERT) {
		ob__nodeconf_wrong(r, "rpc.token",
		                   "is missing: links without a token are not accepted");
	}
	if (c->rpc_token != NULL) {
		check_token(r, "rpc.token", c->rpc_token);
	}
	check_allow(r);
	read_sticky(r);
	read_member(r);
	read_rpc_listens(r);
	read_policies(r);
	read_remotes(r);
}

struct overlap {
	const struct ob__nodeconf *c;
	const char *(*word)(void *arg, uint32_t id);
	void *word_arg;
	ob__conf_report report;
	void *arg;
};

static void warn_overlap(const struct ob__idrange_span *winner,
                         const struct ob__idrange_span *loser, bool special, void *arg)
{
	struct overlap *o = arg;

	ob__conf_complain(o->c->file, o->report, o->arg, OB__CONF_WARNING,
	                  special ? "rpc.route.special" : "rpc.route.range",
	                  "[%u, %u] of %s and [%u, %u] of %s overlap; %s wins", loser->lo,
	                  loser->hi, o->word(o->word_arg, loser->value), winner->lo, winner->hi,
	                  o->word(o->word_arg, winner->value), o->word(o->word_arg, winner->value));
}

static int add_role(struct ob__idrange *t, uint32_t role, const json_t *ranges, bool special)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < json_array_size(ranges); i++) {
		const json_t *item = json_array_get(ranges, i);
		if (special) {
			rc = ob__idrange_add_special(t, (uint32_t)json_integer_value(item), role);
		} else {
			rc = ob__idrange_add(
				t, (uint32_t)json_integer_value(json_array_get(item, 0)),
				(uint32_t)json_integer_value(json_array_get(item, 1)), role);
		}
	}
	return rc;
}

struct ob__idrange *ob__nodeconf_routes(const struct ob__nodeconf *c,
                                        uint32_t (*role_id)(void *arg, const char *word),
                                        const char *(*role_word)(void *arg, uint32_t id),
                                        void *id_arg, ob__conf_report report, void *arg)
{
	static const char *const paths[] = {"rpc.route.range", "rpc.route.special"};
	struct ob__idrange *t = calloc(1, sizeof(*t));
	if (t == NULL) {
		return NULL;
	}
	ob__idrange_init(t);
	for (int special = 0; special < 2; special++) {
		const char *word;
		json_t *ranges;
		json_object_foreach ((json_t *)(uintptr_t)ob__conf_get(c->root, paths[special]),
		                     word, ranges) {
			uint32_t role = ob__nodeconf_word_ok(word) ? role_id(id_arg, word) : 0;
			if (role == 0 || add_role(t, role, ranges, special == 1) != 0) {
				ob__conf_complain(c->file, report, arg, OB__CONF_ERROR,
				                  paths[special], "can't take the role \"%s\"",
				                  word);
				goto fail;
			}
		}
	}
	struct overlap o = {c, role_word, id_arg, report, arg};
	if (ob__idrange_seal(t, warn_overlap, &o) == 0) {
		return t;
	}
fail:
	ob__idrange_free(t);
	free(t);
	return NULL;
}
