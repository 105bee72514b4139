/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/call/methods_far.h"

#include <stdlib.h>
#include <string.h>

#include "host/call/methods.h"
#include "host/message/reply.h"
#include "host/node.h"

#define PAUSE_FIRST   1000u /* ms, until it is asked again */
#define PAUSE_LONGEST 60000u
#define WAITS_MS      1000u /* at most, at a node that can't pass it on */

struct far_list {
	struct ob__strmap names;
	uint64_t digest;
	uint64_t asked;     /* the node that was asked last, or 0 */
	uint64_t candidate; /* the node that is to be asked now, or 0 */
	uint64_t due;       /* loop ms, when to ask again */
	uint32_t pause;
	bool whole;
	bool more; /* parts are still to come */
	bool over; /* there were too many names */
	bool used; /* a member has it */
};

static void clear(struct ob__far *far, struct far_list *l)
{
	far->names -= (uint32_t)l->names.count;
	ob__strmap_free(&l->names);
	l->more = false;
}

static void list_free(struct ob__far *far, struct far_list *l)
{
	ob__map_del(&far->lists, l->digest, 0);
	clear(far, l);
	free(l);
}

/* ---- asking ---- */

static struct far_list *list_get(struct ob__far *far, uint64_t digest)
{
	struct far_list *l = ob__map_get(&far->lists, digest, 0);

	if (l != NULL || far->lists.count >= OB__FAR_LISTS_MAX) {
		return l;
	}
	l = calloc(1, sizeof(*l));
	if (l == NULL || ob__map_put(&far->lists, digest, 0, l) != 0) {
		free(l);
		return NULL;
	}
	ob__strmap_init(&l->names, far->lists.seed);
	l->digest = digest;
	l->pause = PAUSE_FIRST;
	return l;
}

/* Not all shall ask the same one. */
static uint64_t distance(const struct ob__node *node, uint64_t id)
{
	return (id ^ node->self.id) * UINT64_C(0x9e3779b97f4a7c15);
}

static bool is_better(const struct ob__node *node, const struct far_list *l, uint64_t id)
{
	if (l->candidate == 0 || l->candidate == l->asked) {
		return true;
	}
	return id != l->asked && distance(node, id) < distance(node, l->candidate);
}

/* `id` 0: one that can't be asked now. */
static void look_at(struct ob__node *node, uint64_t id, uint64_t digest, uint64_t now)
{
	struct far_list *l = digest != 0 ? list_get(&node->methods.far, digest) : NULL;

	if (l == NULL) {
		return;
	}
	l->used = true;
	if (id != 0 && !l->whole && !l->over && l->due <= now && is_better(node, l, id)) {
		l->candidate = id;
	}
}

static void ask(struct ob__node *node, struct far_list *l, uint64_t now)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_METHODS_ASK,
		.budget = WAITS_MS,
	};

	clear(&node->methods.far, l);
	l->asked = l->candidate;
	l->candidate = 0;
	l->due = now + l->pause;
	l->pause = 2 * l->pause < PAUSE_LONGEST ? 2 * l->pause : PAUSE_LONGEST;
	*node->methods.far.asked += ob__send_in_passing(node, l->asked, &f) == 0;
}

/* Asks for what is due; when to come again, UINT64_MAX: when something changes. */
static uint64_t ask_due(struct ob__node *node, uint64_t now)
{
	struct ob__map_entry *e;
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; (e = ob__map_next(&node->methods.far.lists, &i)) != NULL;) {
		struct far_list *l = e->value;
		if (l->candidate != 0) {
			ask(node, l, now);
		} else if (l->due <= now) {
			l->due = now + PAUSE_FIRST; /* nobody can be asked now */
		}
		if (!l->whole && !l->over && l->due < next) {
			next = l->due;
		}
	}
	return next;
}

static struct far_list *unused(struct ob__far *far)
{
	struct ob__map_entry *e;

	for (size_t i = 0; (e = ob__map_next(&far->lists, &i)) != NULL;) {
		struct far_list *l = e->value;
		if (!l->used) {
			return l;
		}
	}
	return NULL;
}

static void on_timer(void *arg)
{
	struct ob__node *node = arg;
	struct ob__far *far = &node->methods.far;
	uint64_t now = ob__loop_now(node->loop);
	struct ob__map_entry *e;
	struct far_list *l;

	for (size_t i = 0; (e = ob__map_next(&far->lists, &i)) != NULL;) {
		l = e->value;
		l->used = false;
		l->candidate = 0;
	}
	OB__LIST_EACH (it, &node->cluster.dir.nodes) {
		const struct ob__dir_node *n = OB__CONTAINER(it, struct ob__dir_node, link);
		bool lives = n->m.state == OB__MEMBER_UP || n->m.state == OB__MEMBER_DRAINING;
		look_at(node, lives ? n->m.id : 0, n->m.desc->methods, now);
	}
	while ((l = unused(far)) != NULL) {
		list_free(far, l);
	}
	uint64_t next = ask_due(node, now);
	if (next != UINT64_MAX) {
		ob__timeout_set(node->loop, &far->timer, next > now ? next - now : 0);
	}
}

void ob__far_changed(struct ob__node *node)
{
	if (node->methods.far.timer.fn != NULL) {
		ob__timeout_set(node->loop, &node->methods.far.timer, 0);
	}
}

/* ---- answering ---- */

static bool may_answer(struct ob__node *node)
{
	struct ob__far *far = &node->methods.far;
	uint64_t now = ob__loop_now(node->loop);

	if (now - far->answers_since >= 1000) {
		far->answers_since = now;
		far->answers = 0;
	}
	return far->answers++ < OB__FAR_ANSWERS;
}

/* ---- hearing ---- */

static void heard(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__far *far = &node->methods.far;
	struct far_list *l = ob__map_get(&far->lists, f->call, 0);
	uint32_t before;

	if (l == NULL || l->whole || l->asked != f->src) {
		return; /* too late, or it has others by now */
	}
	if (f->payload_len > 0 && (f->payload[0] & OB__METHODS_FIRST) != 0) {
		clear(far, l);
		l->more = true;
	}
	if (!l->more) {
		ob__ignore_frame(node, f, OB__IGNORED_METHODS);
		return;
	}
	before = (uint32_t)l->names.count;
	int rc = ob__methods_read(&l->names, f);
	far->names += (uint32_t)l->names.count - before;
	bool bad = rc < 0;
	l->over = rc == 0 || far->names > OB__FAR_NAMES_MAX;
	bool last = !bad && (f->payload[0] & OB__METHODS_LAST) != 0;
	l->whole = last && !l->over && ob__methods_digest(&l->names) == l->digest;
	if (bad || (last && !l->whole && !l->over)) {
		ob__ignore_frame(node, f, OB__IGNORED_METHODS);
	}
	if (bad || l->over || (last && !l->whole)) {
		clear(far, l);
	}
	l->more = l->more && !last;
}

bool ob__far_frame(struct ob__node *node, const struct ob__frame *f)
{
	switch (f->id) {
	case OB__SYS_METHODS_ASK:
		if (f->src != node->self.id && may_answer(node)) {
			ob__methods_send(node, f->src);
		}
		return true;
	case OB__SYS_METHODS_LIST:
		heard(node, f);
		return true;
	default:
		return false;
	}
}

const struct ob__strmap *ob__far_names(const struct ob__node *node, uint64_t id)
{
	const struct ob__dir_node *n = ob__directory_get(&node->cluster.dir, id);
	const struct far_list *l =
		n != NULL && n->listed && n->m.desc != NULL && n->m.desc->methods != 0
			? ob__map_get(&node->methods.far.lists, n->m.desc->methods, 0)
			: NULL;

	return l != NULL && l->whole ? &l->names : NULL;
}

/* ---- begin and end ---- */

void ob__far_init(struct ob__node *node)
{
	struct ob__far *far = &node->methods.far;

	ob__map_init(&far->lists, node->registry.seed);
	ob__timeout_init(&far->timer, on_timer, node);
	far->asked = ob__stat_counter(node->stats, "obhost_methods_asked_total", NULL,
	                              "Questions to members for the names of their methods.");
}

void ob__far_free(struct ob__node *node)
{
	struct ob__far *far = &node->methods.far;
	struct ob__map_entry *e;

	if (far->timer.fn == NULL) {
		return;
	}
	ob__timeout_clear(node->loop, &far->timer);
	for (size_t i = 0; (e = ob__map_next(&far->lists, &i)) != NULL;) {
		struct far_list *l = e->value;
		ob__strmap_free(&l->names);
		free(l);
	}
	ob__map_free(&far->lists);
}
