/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/codec_hook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/client/client.h"
#include "host/client/codec_state.h"
#include "host/client/conn.h"
#include "host/client/conn_time.h"
#include "host/node.h"

#define WORD_MAX 31u

/* ---- what a listener is configured with ---- */

static ob_codec_open info_of(const ob_codec *codec, const struct ob__listen_conf *conf)
{
	return (ob_codec_open){
		.size = sizeof(ob_codec_open),
		.encode = conf->encode,
		.arg = codec->arg,
		.transport = conf->transport,
		.token = conf->token,
		.conf = conf->codec_conf,
	};
}

int ob__codec_conf_check(struct ob__gen *gen, const ob_codec *codec,
                         const struct ob__listen_conf *conf, char *err, size_t cap)
{
	ob_codec_open info = info_of(codec, conf);
	ob_err said = {""};

	if (codec->conf_check == NULL) {
		bool unheard = codec->open == NULL && (conf->encode != 0 || conf->codec_conf);
		if (unheard) {
			snprintf(err, cap, "%s: the codec %s knows no %s",
			         conf->encode != 0 ? "encode" : "codec_conf", codec->name,
			         conf->encode != 0 ? "encryption" : "configuration");
		}
		return unheard ? OB_E_INVAL : 0;
	}
	int rc = codec->conf_check(&gen->ctx, &info, &said);
	if (rc < 0) {
		said.text[sizeof(said.text) - 1] = '\0';
		snprintf(err, cap, "the codec %s does not take it: %.200s", codec->name,
		         said.text[0] != '\0' ? said.text : "no reason was given");
	}
	return rc < 0 ? rc : 0;
}

static int check_one(struct ob__gen *gen, const ob_codec *codec,
                     const struct ob__client_listener *cl)
{
	char err[sizeof(gen->refused)];

	if (cl->codec == NULL || strcmp(cl->codec->name, codec->name) != 0) {
		return 0;
	}
	int rc = ob__codec_conf_check(gen, codec, cl->conf, err, sizeof(err));
	if (rc != 0) {
		snprintf(gen->refused, sizeof(gen->refused), "%s: %.200s", cl->conf->where, err);
	}
	return rc;
}

int ob__codec_conf_check_all(struct ob__gen *gen, const ob_codec *codec)
{
	const struct ob__clients *c = &gen->node->clients;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->listeners_len; i++) {
		rc = check_one(gen, codec, &c->listeners[i]);
	}
	OB__LIST_EACH (it, &c->opened_listeners) {
		const struct ob__client_listener *cl =
			OB__CONTAINER(it, struct ob__client_listener, link);
		rc = rc == 0 && cl->slot != NULL ? check_one(gen, codec, cl) : rc;
	}
	return rc;
}

/* ---- the beginning and the end of a connection ---- */

int ob__codec_fill(struct ob__conn *conn, const ob_codec *codec, struct ob__gen *gen, void *state)
{
	if (codec->open == NULL) {
		return 0;
	}
	ob_codec_open info = info_of(codec, conn->from->conf);
	if ((conn->from->conf->kind & OB__LISTEN_MODULE) == 0) {
		info.transport = ob__listen_transport(conn->from->conf->kind, conn->is_ws);
	}
	ob_packet says = {.size = sizeof(says)};
	info.wake_ms = &says.wake_ms;
	info.idle_ms = &says.idle_ms;
	info.no_hello = &says.no_hello;
	int rc = codec->open(&gen->ctx, state, &info);
	conn->no_hello = says.no_hello != 0;
	if (rc >= 0 && (says.wake_ms | says.idle_ms) != 0) {
		ob__conn_times(conn, &says);
	}
	return rc < 0 ? rc : 0;
}

int ob__codec_open(struct ob__conn *conn)
{
	const struct ob__reg *reg = ob__slot_active(conn->codec);

	if (reg == NULL) {
		return OB_E_NOT_FOUND;
	}
	/* Its module may have been replaced while the client shook hands. */
	if (reg->codec.state_ver != conn->codec_ver && ob__codec_renew(conn, reg) != 0) {
		return OB_E_NOMEM;
	}
	int rc = ob__codec_fill(conn, &reg->codec, reg->gen, conn->codec_state);
	conn->opened = rc == 0;
	if (rc == 0) {
		ob__codec_share(conn, &reg->codec);
	}
	return rc;
}

size_t ob__codec_last_words(struct ob__conn *conn, uint16_t code, const char *reason, uint8_t *out,
                            size_t cap, bool *failed)
{
	const struct ob__reg *reg = ob__slot_active(conn->codec);

	*failed = false;
	if (!conn->opened || reg == NULL || reg->codec.close == NULL ||
	    reg->codec.state_ver != conn->codec_ver) {
		return 0;
	}
	size_t n = reg->codec.close(&reg->gen->ctx, conn->codec_state, code,
	                            reason != NULL ? reason : "", out, cap);
	*failed = n > cap;
	return n <= cap ? n : 0;
}

/* ---- how violations are counted ---- */

static bool word_ok(const char *word)
{
	size_t len = strnlen(word, WORD_MAX + 1);

	return len > 0 && len <= WORD_MAX && strspn(word, "abcdefghijklmnopqrstuvwxyz_") == len;
}

const char *ob__codec_word(struct ob__node *node, const char *word, const char *otherwise)
{
	struct ob__codec_words *w = &node->clients.words;

	if (word == NULL || !word_ok(word)) {
		return otherwise;
	}
	for (size_t i = 0; i < w->len; i++) {
		if (strcmp(w->words[i], word) == 0) {
			return w->words[i];
		}
	}
	char *copy = w->len < OB_CODEC_WORDS_MAX ? strdup(word) : NULL;
	if (copy == NULL) {
		return otherwise;
	}
	w->words[w->len++] = copy;
	return copy;
}

void ob__codec_words_free(struct ob__codec_words *w)
{
	for (size_t i = 0; i < w->len; i++) {
		free(w->words[i]);
	}
	w->len = 0;
}
