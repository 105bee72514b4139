/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/slot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MAX     65536u
#define HTTP_NAME_MAX 1024u

void ob__slots_init(struct ob__slots *s, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	ob__map_init(&s->client_ids, seed);
	ob__map_init(&s->link_ids, seed);
	ob__strmap_init(&s->methods, seed);
	ob__strmap_init(&s->http, seed);
	ob__strmap_init(&s->codecs, seed);
	ob__strmap_init(&s->listens, seed);
	ob__strmap_init(&s->policies, seed);
	ob__strmap_init(&s->transports, seed);
	ob__strmap_init(&s->client_transports, seed);
	for (int kind = 0; kind < OB__SLOT_KINDS; kind++) {
		s->single[kind].kind = (enum ob__slot_kind)kind;
	}
}

static void slot_free(struct ob__slot *slot)
{
	free(slot->states);
	free(slot->name);
	free(slot);
}

static void idmap_free(struct ob__map *m)
{
	struct ob__map_entry *e;

	for (size_t i = 0; (e = ob__map_next(m, &i)) != NULL;) {
		slot_free(e->value);
	}
	ob__map_free(m);
}

static void namemap_free(struct ob__strmap *m)
{
	struct ob__strmap_entry *e;

	for (size_t i = 0; (e = ob__strmap_next(m, &i)) != NULL;) {
		slot_free(e->value);
	}
	ob__strmap_free(m);
}

static void chains_free(struct ob__slots *s)
{
	struct ob__chain *all[] = {&s->filters,
	                           &s->events,
	                           &s->call_filters[0],
	                           &s->call_filters[1],
	                           &s->call_filters[2],
	                           &s->call_filters[3],
	                           &s->groups,
	                           &s->states,
	                           &s->raised,
	                           &s->message_filters[0],
	                           &s->message_filters[1],
	                           &s->message_filters[2],
	                           &s->message_filters[3]};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		free(all[i]->regs);
		*all[i] = (struct ob__chain){0};
	}
}

void ob__slots_free(struct ob__slots *s)
{
	idmap_free(&s->client_ids);
	idmap_free(&s->link_ids);
	namemap_free(&s->methods);
	namemap_free(&s->http);
	namemap_free(&s->codecs);
	namemap_free(&s->listens);
	namemap_free(&s->policies);
	namemap_free(&s->transports);
	namemap_free(&s->client_transports);
	chains_free(s);
	memset(s, 0, sizeof(*s));
}

static struct ob__map *ids_of(struct ob__slots *s, enum ob__slot_kind kind)
{
	if (kind == OB__SLOT_CLIENT_ID) {
		return &s->client_ids;
	}
	return kind == OB__SLOT_LINK_ID ? &s->link_ids : NULL;
}

static struct ob__strmap *names_of(struct ob__slots *s, enum ob__slot_kind kind)
{
	switch (kind) {
	case OB__SLOT_METHOD:
		return &s->methods;
	case OB__SLOT_HTTP:
		return &s->http;
	case OB__SLOT_CODEC:
		return &s->codecs;
	case OB__SLOT_LISTEN:
		return &s->listens;
	case OB__SLOT_POLICY:
		return &s->policies;
	case OB__SLOT_TRANSPORT:
		return &s->transports;
	case OB__SLOT_CLIENT_TRANSPORT:
		return &s->client_transports;
	default:
		return NULL;
	}
}

static struct ob__slot *slot_new(struct ob__slots *s, const struct ob__slot_key *key)
{
	struct ob__slot *slot = calloc(1, sizeof(*slot));
	if (slot == NULL) {
		return NULL;
	}
	slot->kind = key->kind;
	slot->id = key->id;
	if (key->name != NULL && (slot->name = strdup(key->name)) == NULL) {
		free(slot);
		return NULL;
	}
	int rc = ids_of(s, key->kind) != NULL
	                 ? ob__map_put(ids_of(s, key->kind), key->id, 0, slot)
	                 : ob__strmap_put(names_of(s, key->kind), key->name, slot);
	if (rc != 0) {
		slot_free(slot);
		return NULL;
	}
	s->count++;
	return slot;
}

int ob__slots_get(struct ob__slots *s, const struct ob__slot_key *key, struct ob__slot **out)
{
	struct ob__map *ids = ids_of(s, key->kind);
	struct ob__strmap *names = names_of(s, key->kind);

	if (ids == NULL && names == NULL) {
		*out = &s->single[key->kind];
		return 0;
	}
	*out = ids != NULL ? ob__map_get(ids, key->id, 0) : ob__strmap_get(names, key->name);
	if (*out != NULL) {
		return 0;
	}
	if (s->count >= SLOTS_MAX) {
		return OB_E_LIMIT;
	}
	*out = slot_new(s, key);
	return *out != NULL ? 0 : OB_E_NOMEM;
}

static bool many_of(enum ob__slot_kind kind)
{
	return kind == OB__SLOT_EVENT || kind == OB__SLOT_FILTER || kind == OB__SLOT_CALL_FILTER ||
	       kind == OB__SLOT_GROUP || kind == OB__SLOT_STATE ||
	       kind == OB__SLOT_MESSAGE_FILTER || kind == OB__SLOT_RAISED;
}

static bool taken(const struct ob__reg *reg, const struct ob__gen *g)
{
	return reg != NULL && reg->gen->module != g->module;
}

int ob__slot_register(struct ob__slots *s, struct ob__gen *g, const struct ob__slot_key *key,
                      struct ob__reg **out)
{
	bool many = many_of(key->kind);
	struct ob__slot *slot;

	if (g->state != OB__GEN_STARTING && g->state != OB__GEN_ACTIVE) {
		return OB_E_STATE;
	}
	int rc = ob__slots_get(s, key, &slot);
	if (rc != 0) {
		return rc;
	}
	if (!many && (taken(slot->active, g) || taken(slot->shadow, g) || taken(slot->canary, g))) {
		return OB_E_EXISTS;
	}
	if (!many && ((slot->shadow != NULL && slot->shadow->gen == g) ||
	              (slot->active != NULL && slot->active->gen == g))) {
		return OB_E_EXISTS;
	}
	struct ob__reg *reg = calloc(1, sizeof(*reg));
	if (reg == NULL) {
		return OB_E_NOMEM;
	}
	reg->slot = slot;
	reg->number = ++s->registered;
	reg->gen = g;
	ob__list_append(&g->regs, &reg->gen_link);
	s->methods_version += key->kind == OB__SLOT_METHOD;
	if (!many && g->state == OB__GEN_ACTIVE) {
		slot->active = reg;
	} else if (!many) {
		slot->shadow = reg;
	}
	*out = reg;
	return 0;
}

static bool is_chained(const struct ob__reg *reg)
{
	return many_of(reg->slot->kind);
}

uint32_t ob__slots_activate(struct ob__slots *s, struct ob__gen *g)
{
	uint32_t n = 0;

	s->methods_version++;
	OB__LIST_EACH (it, &g->regs) {
		struct ob__reg *reg = OB__CONTAINER(it, struct ob__reg, gen_link);
		n++;
		if (is_chained(reg)) {
			continue;
		}
		reg->slot->active = reg;
		if (reg->slot->shadow == reg) {
			reg->slot->shadow = NULL;
		}
		if (reg->slot->canary == reg) {
			reg->slot->canary = NULL;
		}
	}
	return n;
}

uint32_t ob__slots_deactivate(struct ob__slots *s, struct ob__gen *g)
{
	uint32_t n = 0;

	s->methods_version++;
	OB__LIST_EACH (it, &g->regs) {
		struct ob__reg *reg = OB__CONTAINER(it, struct ob__reg, gen_link);
		n++;
		if (reg->slot->active == reg) {
			reg->slot->active = NULL;
		}
		if (reg->slot->canary == reg) {
			reg->slot->canary = NULL;
		}
	}
	return n;
}

static bool can_share(enum ob__slot_kind kind)
{
	return kind == OB__SLOT_CLIENT_ID || kind == OB__SLOT_LINK_ID || kind == OB__SLOT_METHOD ||
	       kind == OB__SLOT_CLIENT_DECIDER || kind == OB__SLOT_LINK_DECIDER;
}

uint32_t ob__slots_canary(struct ob__slots *s, struct ob__gen *g)
{
	uint32_t n = 0;

	s->methods_version++;
	OB__LIST_EACH (it, &g->regs) {
		struct ob__reg *reg = OB__CONTAINER(it, struct ob__reg, gen_link);
		n++;
		if (can_share(reg->slot->kind)) {
			reg->slot->canary = reg;
			reg->slot->shadow = NULL;
		}
	}
	return n;
}

struct ob__reg *ob__slot_share(const struct ob__slot *slot, uint64_t node, uint64_t seq)
{
	uint64_t x = node ^ (seq * 0x9e3779b97f4a7c15ull);

	if (node == 0) { /* no session */
		return slot->active;
	}
	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	return x % 100 < slot->canary->gen->share ? slot->canary : slot->active;
}

static int chain_add(struct ob__chain *c, struct ob__reg *reg)
{
	struct ob__reg **grown = realloc(c->regs, (c->len + 1) * sizeof(*grown));
	if (grown == NULL) {
		return OB_E_NOMEM;
	}
	c->regs = grown;
	size_t at = c->len++;
	while (at > 0 && grown[at - 1]->priority > reg->priority) {
		grown[at] = grown[at - 1];
		at--;
	}
	grown[at] = reg;
	return 0;
}

static struct ob__chain *chain_of(struct ob__slots *s, const struct ob__reg *reg)
{
	switch (reg->slot->kind) {
	case OB__SLOT_FILTER:
		return &s->filters;
	case OB__SLOT_EVENT:
		return &s->events;
	case OB__SLOT_GROUP:
		return &s->groups;
	case OB__SLOT_STATE:
		return &s->states;
	case OB__SLOT_RAISED:
		return &s->raised;
	case OB__SLOT_MESSAGE_FILTER:
		return &s->message_filters[reg->flags - 1];
	default:
		return &s->call_filters[reg->flags - 1];
	}
}

static int chain_module(struct ob__slots *s, struct ob__gen *g)
{
	OB__LIST_EACH (it, &g->regs) {
		struct ob__reg *reg = OB__CONTAINER(it, struct ob__reg, gen_link);
		if (is_chained(reg) && chain_add(chain_of(s, reg), reg) != 0) {
			return OB_E_NOMEM;
		}
	}
	return 0;
}

int ob__slots_rebuild(struct ob__slots *s, struct ob__list *modules)
{
	chains_free(s);
	s->chains_version++;
	OB__LIST_EACH (it, modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		if (m->active != NULL && chain_module(s, m->active) != 0) {
			chains_free(s);
			return OB_E_NOMEM;
		}
	}
	return 0;
}

void ob__slot_unregister(struct ob__reg *reg)
{
	if (reg->slot->active == reg) {
		reg->slot->active = NULL;
	}
	if (reg->slot->canary == reg) {
		reg->slot->canary = NULL;
	}
	if (reg->slot->shadow == reg) {
		reg->slot->shadow = NULL;
	}
	ob__list_del(&reg->gen_link);
	if (reg->slot->kind == OB__SLOT_RAISED) {
		free(reg->fn.raised.words);
	}
	free(reg);
}

bool ob__slot_off(struct ob__slots *s, const struct ob__gen *g, const struct ob__slot_key *key)
{
	const struct ob__map *ids = ids_of(s, key->kind);
	const struct ob__slot *slot = ids != NULL
	                                      ? ob__map_get(ids, key->id, 0)
	                                      : ob__strmap_get(names_of(s, key->kind), key->name);
	struct ob__reg *regs[] = {slot != NULL ? slot->active : NULL,
	                          slot != NULL ? slot->canary : NULL,
	                          slot != NULL ? slot->shadow : NULL};

	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		if (regs[i] != NULL && regs[i]->gen == g) {
			ob__slot_unregister(regs[i]);
			s->methods_version += key->kind == OB__SLOT_METHOD;
			return true;
		}
	}
	return false;
}

void ob__slots_drop(struct ob__slots *s, struct ob__gen *g)
{
	s->methods_version++;
	OB__LIST_EACH_SAFE (it, &g->regs) {
		ob__slot_unregister(OB__CONTAINER(it, struct ob__reg, gen_link));
	}
}

struct ob__reg *ob__slots_find(struct ob__slots *s, bool client, uint32_t id, uint64_t node,
                               uint64_t seq)
{
	const struct ob__map *ids = client ? &s->client_ids : &s->link_ids;
	struct ob__slot *slot = ob__map_get(ids, id, 0);
	struct ob__reg *reg = ob__slot_pick(slot, node, seq);

	s->last[client] = slot;
	return reg != NULL ? reg : ob__slot_pick(ob__map_get(ids, 0, 0), node, seq);
}

struct ob__reg *ob__slots_method(const struct ob__slots *s, const char *name, size_t len,
                                 uint64_t node, uint64_t seq)
{
	return ob__slot_pick(ob__strmap_getn(&s->methods, name, len), node, seq);
}

/* Looks "METHOD path" up, then "* path". */
static struct ob__reg *http_exact(const struct ob__slots *s, const char *method, const char *path,
                                  size_t path_len, const char *star)
{
	const char *words[] = {method, "*"};
	char name[HTTP_NAME_MAX];

	for (size_t i = 0; i < 2; i++) {
		int len = snprintf(name, sizeof(name), "%s %.*s%s", words[i], (int)path_len, path,
		                   star);
		if (len < 0 || (size_t)len >= sizeof(name)) {
			return NULL;
		}
		struct ob__reg *reg = ob__slot_active(ob__strmap_get(&s->http, name));
		if (reg != NULL) {
			return reg;
		}
	}
	return NULL;
}

void ob__slots_http_methods(const struct ob__slots *s, const char *path, char *out, size_t cap)
{
	struct ob__strmap_entry *e;
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; (e = ob__strmap_next(&s->http, &i)) != NULL;) {
		const char *p = strchr(e->key, ' ') + 1;
		size_t len = strlen(p);
		bool star = len > 0 && p[len - 1] == '*';
		if (ob__slot_active(e->value) == NULL ||
		    (star ? strncmp(p, path, len - 1) != 0 : strcmp(p, path) != 0)) {
			continue;
		}
		int n = snprintf(out + at, cap - at, "%s%.*s", at > 0 ? ", " : "",
		                 (int)(p - 1 - e->key), e->key);
		if (n < 0 || (size_t)n >= cap - at) {
			out[at] = '\0';
			return;
		}
		at += (size_t)n;
	}
}

struct ob__reg *ob__slots_http(const struct ob__slots *s, const char *method, const char *path,
                               const char **tail)
{
	size_t len = strlen(path);
	struct ob__reg *reg = http_exact(s, method, path, len, "");

	*tail = "";
	for (size_t n = len; reg == NULL && n > 0; n--) {
		if (path[n - 1] != '/') {
			continue;
		}
		reg = http_exact(s, method, path, n, "*");
		*tail = path + n;
	}
	if (reg == NULL) {
		*tail = "";
	}
	return reg;
}

struct ob__slot *ob__slots_codec(const struct ob__slots *s, const char *name)
{
	return ob__strmap_get(&s->codecs, name);
}
