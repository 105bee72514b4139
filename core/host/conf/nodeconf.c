/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The file as a whole, and what is about the node itself. */

#include "host/conf/nodeconf_priv.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "mesh/hello.h"

void ob__nodeconf_wrong(struct ob__reading *r, const char *path, const char *text)
{
	ob__conf_complain(r->c->file, r->report, r->arg, OB__CONF_ERROR, path, "%s", text);
	r->errors++;
}

bool ob__host_is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (strcmp(host, "localhost") == 0) {
		return true;
	}
	if (inet_pton(AF_INET, host, &v4) == 1) {
		return (ntohl(v4.s_addr) >> 24) == 127;
	}
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool ob__nodeconf_word_ok(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len >= OB__HELLO_NAME) {
		return false;
	}
	for (; *s != '\0'; s++) {
		if (!isalnum((unsigned char)*s) && strchr("._-", *s) == NULL) {
			return false;
		}
	}
	return true;
}

/* "10/s", "0.5/s" */
static double read_rate(struct ob__reading *r, const char *text)
{
	char *end;
	double rate = strtod(text, &end);

	if (end == text || strcmp(end, "/s") != 0 || !(rate >= 0 && rate <= 1e6)) {
		ob__nodeconf_wrong(r, "reload.rate",
		                   "must be a number with \"/s\" behind it, as \"10/s\"");
		return 0;
	}
	return rate;
}

static void read_reload(struct ob__reading *r)
{
	const json_t *j = r->c->root;

	r->c->reload = (struct ob__reload_conf){
		.drain_ms = ob__conf_ms(j, "reload.drain", 60000),
		.probation_ms = ob__conf_ms(j, "reload.probation", 30000),
		.probe_ms = ob__conf_ms(j, "reload.probe", 5000),
		.budget_ms = ob__conf_ms(j, "reload.budget", 100),
		.stall_ms = ob__conf_ms(j, "reload.stall", 1000),
		.errors_percent = (unsigned)ob__conf_int(j, "reload.errors", 10),
		.rate = read_rate(r, ob__conf_str(j, "reload.rate", "10/s")),
	};
}

static void read_node(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *j = c->root;

	c->name = ob__conf_str(j, "name", "");
	c->role = ob__conf_str(j, "type", "");
	c->host = ob__conf_str(j, "host", "127.0.0.1");
	c->call_timeout_ms = ob__conf_ms(j, "call_timeout", 5000);
	read_reload(r);
	c->state_dir = ob__conf_str(j, "state_dir", NULL);
	c->pid = ob__conf_str(j, "pid", NULL);
	c->user = ob__conf_str(j, "user", NULL);
	c->log_level = ob__log_level_from(ob__conf_str(j, "log_level", "info"));
	c->log_dir = ob__conf_str(j, "log_dir", NULL);
	c->log_stderr = ob__conf_bool(j, "log.stderr", false);
	c->log_ring = (size_t)ob__conf_int(j, "log.ring", 4096);
	if (!ob__nodeconf_word_ok(c->name)) {
		ob__nodeconf_wrong(r, "name", "must be 1 to 63 letters, digits, '.', '_' or '-'");
	}
	if (!ob__nodeconf_word_ok(c->role)) {
		ob__nodeconf_wrong(r, "type", "must be 1 to 63 letters, digits, '.', '_' or '-'");
	}
	if (c->call_timeout_ms == 0) {
		ob__nodeconf_wrong(r, "call_timeout",
		                   "must be above 0: every request needs a deadline");
	}
	if (strcmp(ob__conf_str(j, "available_way", "local"), "local") != 0) {
		ob__nodeconf_wrong(r, "available_way",
		                   "only \"local\" is built; put the nodes in remote_ports");
	}
}

static uint8_t slow_of(const char *word)
{
	static const char *const words[] = {"close", "drop", "drop_oldest", "conflate"};
	uint8_t slow = OB__SLOW_CLOSE;

	while (slow < OB__SLOW_CONFLATE && strcmp(words[slow], word) != 0) {
		slow++;
	}
	return slow;
}

static void read_limits(struct ob__reading *r)
{
	const json_t *j = r->c->root;

	r->c->limits = (struct ob__limits){
		.connections = (uint32_t)ob__conf_int(j, "limits.connections", 100000),
		.sessions = (uint32_t)ob__conf_int(j, "limits.sessions", 1000000),
		.requests = (uint32_t)ob__conf_int(j, "limits.requests", 1000000),
		.in_flight = (uint32_t)ob__conf_int(j, "limits.in_flight", 1024),
		.message = (size_t)ob__conf_int(j, "limits.message", 1 << 20),
		.client_queue = (size_t)ob__conf_int(j, "limits.client_queue", 4 << 20),
		.slow = slow_of(ob__conf_str(j, "limits.slow", "close")),
		.link_frames = (uint32_t)ob__conf_int(j, "limits.link_frames", 0),
		.link_bytes = (size_t)ob__conf_int(j, "limits.link_bytes", 0),
		.link_queue = (size_t)ob__conf_int(j, "limits.link_queue", 16 << 20),
		.held = (size_t)ob__conf_int(j, "limits.held", 8 << 20),
		.keys = (uint32_t)ob__conf_int(j, "limits.keys", 100000),
		.keys_bytes = (size_t)ob__conf_int(j, "limits.keys_bytes", 32 << 20),
		.users = (uint32_t)ob__conf_int(j, "limits.users", 1000000),
		.groups = (uint32_t)ob__conf_int(j, "limits.groups", 65536),
		.group_members = (uint32_t)ob__conf_int(j, "limits.group_members", 64),
	};
}

static void read_http(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;

	c->http_port = (int)ob__conf_int(c->root, "http.port", 0);
	c->http_token = ob__conf_str(c->root, "http.token", NULL);
	c->admin_port = (int)ob__conf_int(c->root, "admin.port", 0);
	c->admin_unix = ob__conf_str(c->root, "admin.unix", NULL);
	if (c->admin_port != 0 && c->admin_unix != NULL) {
		ob__nodeconf_wrong(r, "admin", "has both port and unix; choose one");
	}
	if (c->http_token == NULL || strcmp(c->http_token, OB__SEED_TOKEN) != 0) {
		return;
	}
	if (!ob__host_is_loopback(c->host)) {
		ob__nodeconf_wrong(
			r, "http.token",
			"is the well-known demo token and host is not a loopback address; "
			"choose a token of your own");
		return;
	}
	c->http_token = NULL;
}

struct ob__nodeconf *ob__nodeconf_load_kept(const char *path, const char *kept,
                                            const char *const *extra, size_t extra_len,
                                            ob__conf_report report, void *arg)
{
	struct ob__nodeconf *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		return NULL;
	}
	struct ob__reading r = {.c = c, .report = report, .arg = arg};

	c->path = strdup(path);
	c->file = ob__conf_load(kept, report, arg);
	if (c->path == NULL || c->file == NULL || ob__conf_set_home(c->file, path) != 0) {
		goto fail;
	}
	if (ob__conf_check(c->file, ob__nodeconf_rows, report, arg) > 0) {
		goto fail;
	}
	c->root = ob__conf_root(c->file);
	read_node(&r);
	read_limits(&r);
	ob__nodeconf_read_sessions(&r);
	ob__nodeconf_read_listens(&r);
	read_http(&r);
	ob__nodeconf_read_mesh(&r);
	ob__nodeconf_read_modules(&r, extra, extra_len);
	if (r.errors > 0) {
		goto fail;
	}
	return c;
fail:
	ob__nodeconf_free(c);
	return NULL;
}

struct ob__nodeconf *ob__nodeconf_load(const char *path, const char *const *extra, size_t extra_len,
                                       ob__conf_report report, void *arg)
{
	return ob__nodeconf_load_kept(path, path, extra, extra_len, report, arg);
}

void ob__nodeconf_free(struct ob__nodeconf *c)
{
	if (c == NULL) {
		return;
	}
	for (size_t i = 0; i < c->listens_len; i++) {
		ob__listen_conf_free(&c->listens[i]);
	}
	for (size_t i = 0; i < c->modules_len; i++) {
		free(c->modules[i].name);
		free(c->modules[i].path);
		json_decref(c->modules[i].conf);
	}
	for (size_t i = 0; i < c->states_len; i++) {
		free(c->states[i].ids);
	}
	free(c->states);
	ob__idrange_free(&c->filters.timeouts);
	ob__idrange_free(&c->policy_range);
	free(c->choosers);
	ob__idrange_free(&c->sticky);
	for (size_t i = 0; i < c->remotes_len; i++) {
		free(c->remotes[i].host_text);
	}
	free(c->listens);
	free(c->remotes);
	free(c->rpc_listens);
	free(c->rpc_host_text);
	free(c->rpc_tokens);
	free(c->serve);
	free(c->modules);
	free(c->module_dirs);
	free(c->path);
	ob__conf_free(c->file);
	free(c);
}
