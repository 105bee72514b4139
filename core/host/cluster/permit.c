/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/cluster/permit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/message/reply.h"
#include "host/node.h"
#include "lib/idrange.h"
#include "lib/many.h"

#define LOG_BURST  1u  /* lines per reason in ten seconds, when there are too many peers */
#define OVER_PRICE 0.1 /* of a frame that was refused: ten times too many close the link */

struct ob__permit {
	uint32_t role; /* 0: of roles that have none of their own */
	bool calls;
	bool pushes;
	bool any_id;
	struct ob__idrange ids;
	json_t *methods; /* list of "word" and "prefix*", or NULL: any */
};

static const struct {
	const char *word;
	const char *text;
} denials[OB__DENIALS] = {
	[OB__DENIED_ID] = {"id", "a message id that rpc.allow does not give its role"},
	[OB__DENIED_METHOD] = {"method", "a method that rpc.allow does not give its role"},
	[OB__DENIED_CALL] = {"call", "a call, which rpc.allow does not give its role"},
	[OB__DENIED_PUSH] = {"push", "a push, which rpc.allow does not give its role"},
	[OB__DENIED_RATE] = {"rate", "more than limits.link_frames or link_bytes"},
	[OB__DENIED_FLOOD] = {"flood", "far more than limits.link_frames or link_bytes: closed"},
};

/* ---- reading ---- */

static void list_free(struct ob__permit *list, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		ob__idrange_free(&list[i].ids);
		json_decref(list[i].methods);
	}
	free(list);
}

void ob__permits_free(struct ob__permits *permits)
{
	list_free(permits->list, permits->len);
	ob__lograte_free(&permits->lines);
	*permits = (struct ob__permits){0};
}

void ob__permits_init(struct ob__node *node)
{
	ob__lograte_init(&node->permits.lines, node->registry.seed);
}

static int read_permit(struct ob__permit *p, const char *role, const json_t *j)
{
	const json_t *ranges = json_object_get(j, "ranges");
	size_t i;
	json_t *pair;
	int rc = 0;

	p->role = strcmp(role, "*") == 0 ? 0 : ob__fnv1a32(role);
	p->calls = ob__conf_bool(j, "calls", true);
	p->pushes = ob__conf_bool(j, "pushes", true);
	p->any_id = ranges == NULL;
	p->methods = json_incref(json_object_get(j, "methods"));
	ob__idrange_init(&p->ids);
	json_array_foreach (ranges, i, pair) {
		rc |= ob__idrange_add(&p->ids,
		                      (uint32_t)json_integer_value(json_array_get(pair, 0)),
		                      (uint32_t)json_integer_value(json_array_get(pair, 1)), 1);
	}
	return rc == 0 ? ob__idrange_seal(&p->ids, NULL, NULL) : rc;
}

int ob__permits_apply(struct ob__node *node)
{
	struct ob__permits *permits = &node->permits;
	const struct ob__limits *limits = &node->conf->limits;
	json_t *map = (json_t *)(uintptr_t)ob__conf_get(node->conf->root, "rpc.allow");
	struct ob__permit *list = calloc(json_object_size(map) + 1, sizeof(*list));
	size_t len = 0;
	const char *role;
	json_t *value;

	if (list == NULL) {
		return OB_E_NOMEM;
	}
	json_object_foreach (map, role, value) {
		if (read_permit(&list[len++], role, value) != 0) {
			list_free(list, len);
			return OB_E_NOMEM;
		}
	}
	list_free(permits->list, permits->len);
	permits->list = list;
	permits->len = len;
	permits->active = len > 0 || limits->link_frames > 0 || limits->link_bytes > 0;
	for (int i = 0; i < OB__DENIALS && permits->denied[i] == NULL; i++) {
		char label[32];
		snprintf(label, sizeof(label), "reason=\"%s\"", denials[i].word);
		permits->denied[i] =
			ob__stat_counter(node->stats, "obhost_link_denied_total", label,
		                         "Frames of other nodes that were not taken, by reason.");
	}
	return 0;
}

/* ---- what ---- */

static const struct ob__permit *permit_of(const struct ob__permits *permits, uint32_t role)
{
	const struct ob__permit *others = NULL;

	for (size_t i = 0; i < permits->len; i++) {
		if (permits->list[i].role == role) {
			return &permits->list[i];
		}
		if (permits->list[i].role == 0) {
			others = &permits->list[i];
		}
	}
	return others;
}

static bool method_fits(const char *pattern, const uint8_t *name, size_t len)
{
	size_t n = strlen(pattern);

	if (n > 0 && pattern[n - 1] == '*') {
		return len >= n - 1 && memcmp(pattern, name, n - 1) == 0;
	}
	return len == n && memcmp(pattern, name, n) == 0;
}

static bool method_allowed(const struct ob__permit *p, const struct ob__frame *f)
{
	uint16_t len = 0;
	const uint8_t *name = ob__frame_ext(f, OB__FRAME_EXT_METHOD, &len);
	size_t i;
	json_t *pattern;

	if (p->methods == NULL) {
		return true;
	}
	json_array_foreach (p->methods, i, pattern) {
		if (name != NULL && method_fits(json_string_value(pattern), name, len)) {
			return true;
		}
	}
	return false;
}

static bool is_push(const struct ob__frame *f)
{
	return f->kind == OB__FRAME_PUSH ||
	       (f->kind == OB__FRAME_SYSTEM && f->id == OB__SYS_USER_SEND);
}

static enum ob__denial denial(const struct ob__permit *p, const struct ob__frame *f)
{
	uint32_t value;

	if (is_push(f)) {
		return p->pushes ? OB__DENIALS : OB__DENIED_PUSH;
	}
	if ((f->flags & OB__FRAME_CALL) != 0 && !p->calls) {
		return OB__DENIED_CALL;
	}
	if ((f->flags & OB__FRAME_METHOD) != 0) {
		return method_allowed(p, f) ? OB__DENIALS : OB__DENIED_METHOD;
	}
	return p->any_id || ob__idrange_find(&p->ids, f->id, &value) ? OB__DENIALS : OB__DENIED_ID;
}

/* ---- how much ---- */

static void refill(double *credit, double rate, uint64_t ms)
{
	*credit += rate * (double)ms / 1000;
	if (*credit > rate) {
		*credit = rate;
	}
}

/* One second's worth may come at once. */
static bool take(double *credit, double rate, double n, bool *flood)
{
	if (rate == 0) {
		return true;
	}
	bool ok = *credit >= n || *credit >= rate;
	*credit -= ok ? n : n * OVER_PRICE;
	*flood = *flood || *credit < -rate;
	return ok;
}

/* The same for each of `n` messages; how many of them there is credit for. */
static uint32_t take_some(double *credit, double rate, uint32_t n, bool *flood)
{
	if (rate == 0) {
		return n;
	}
	uint32_t some = n;
	if (*credit < n) {
		some = *credit > 0 ? (uint32_t)*credit : 0;
	}
	*credit -= some + (n - some) * OVER_PRICE;
	*flood = *flood || *credit < -rate;
	return some;
}

/* Of how many messages of the frame it is not too much, the first ones. */
static enum ob__denial over(const struct ob__node *node, struct ob__link *link,
                            const struct ob__frame *f, uint32_t *some)
{
	const struct ob__limits *limits = &node->conf->limits;
	double frames = limits->link_frames;
	double bytes = (double)limits->link_bytes;
	uint64_t now = ob__loop_now(node->loop);
	bool flood = false;

	refill(&link->credit_frames, frames, now - link->credit_at);
	refill(&link->credit_bytes, bytes, now - link->credit_at);
	link->credit_at = now;
	*some = take_some(&link->credit_frames, frames, ob__many_of(f), &flood);
	bool ok = take(&link->credit_bytes, bytes, f->len, &flood) && *some > 0;
	return flood ? OB__DENIED_FLOOD : (ok ? OB__DENIALS : OB__DENIED_RATE);
}

/* ---- asking ---- */

static void deny(struct ob__node *node, struct ob__link *link, const struct ob__frame *f,
                 enum ob__denial why)
{
	struct ob__permits *permits = &node->permits;
	const struct ob__identity *who = &link->peer->who;
	uint32_t missed;

	*permits->denied[why] += ob__many_of(f);
	if (ob__lograte_allow(&permits->lines, who->id, why, &permits->limits[why], LOG_BURST,
	                      ob__loop_now(node->loop), &missed)) {
		ob__warning("link", "%s (%s): denied, id %u (%s) [and %u like it]", who->name,
		            who->role, (unsigned)f->id, denials[why].text, (unsigned)missed);
	}
	if (why == OB__DENIED_FLOOD) {
		ob__link_shut(link, denials[why].text);
		return;
	}
	ob__refuse_frame(node, f, why == OB__DENIED_RATE ? OB_E_BUSY : OB_E_DENIED,
	                 denials[why].text);
}

uint32_t ob__permit_frame(struct ob__node *node, struct ob__link *link, const struct ob__frame *f)
{
	bool asks = f->kind == OB__FRAME_REQUEST || is_push(f);
	uint32_t some;
	enum ob__denial why = over(node, link, f, &some);

	if (why != OB__DENIED_FLOOD && !asks) {
		return ob__many_of(f);
	}
	if (why == OB__DENIALS && node->permits.len > 0) {
		const struct ob__permit *p = permit_of(&node->permits, link->peer->who.role_id);
		why = p != NULL ? denial(p, f) : OB__DENIALS;
	}
	if (why == OB__DENIALS) {
		return some;
	}
	deny(node, link, f, why);
	return 0;
}

void ob__permit_refuse(struct ob__node *node, struct ob__link *link, const struct ob__frame *f)
{
	deny(node, link, f, OB__DENIED_RATE);
}
