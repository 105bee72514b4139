/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/msgname.h"

#include <stdlib.h>
#include <string.h>

#include "host/node.h"
#include "lib/fnv.h"
#include "lib/ws.h"

bool ob__msgname_ok(const char *name, size_t len)
{
	if (len == 0 || len > OB_NAME_MAX) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)name[i];
		if (c < 0x20 || c == 0x7f) {
			return false;
		}
	}
	return ob__utf8_ok((const uint8_t *)name, len);
}

uint32_t ob__msgname_hash(const char *name, size_t len)
{
	return OB_NAME_ID_MIN | (ob__fnv1a32_of(name, len) & (OB_NAME_ID_MIN - 1));
}

/* ---- the table ---- */

void ob__msgnames_init(struct ob__msgnames *n, uint64_t seed)
{
	ob__map_init(&n->by_id, seed);
	ob__strmap_init(&n->chosen, seed);
	n->heard = 0;
}

void ob__msgnames_free(struct ob__msgnames *n)
{
	struct ob__map_entry *e;

	for (size_t pos = 0; (e = ob__map_next(&n->by_id, &pos)) != NULL;) {
		struct ob__msgname *known = e->value;
		free(known->before);
		free(known);
	}
	ob__map_free(&n->by_id);
	ob__strmap_free(&n->chosen);
}

static bool is_name(const struct ob__msgname *known, const char *name, size_t len)
{
	return known->len == len && memcmp(known->name, name, len) == 0;
}

static int put(struct ob__msgnames *n, const char *name, size_t len, uint32_t id, bool heard)
{
	struct ob__msgname *has = ob__map_get(&n->by_id, id, 0);

	if (has != NULL && is_name(has, name, len)) {
		n->heard -= has->heard && !heard;
		has->heard = has->heard && heard;
		return 0;
	}
	if (has != NULL && (heard || !has->heard)) {
		return OB_E_EXISTS;
	}
	if ((has == NULL && n->by_id.count >= OB__MSGNAMES_MAX) ||
	    (heard && n->heard >= OB__MSGNAMES_HEARD)) {
		return OB_E_LIMIT;
	}
	struct ob__msgname *known = malloc(sizeof(*known) + len + 1);
	if (known == NULL) {
		return OB_E_NOMEM;
	}
	known->before = has;
	known->id = id;
	known->len = (uint16_t)len;
	known->heard = heard;
	memcpy(known->name, name, len);
	known->name[len] = '\0';
	if (ob__map_put(&n->by_id, id, 0, known) != 0) {
		free(known);
		return OB_E_NOMEM;
	}
	n->heard += heard;
	n->heard -= has != NULL;
	return 0;
}

int ob__msgnames_choose(struct ob__msgnames *n, const char *name, uint32_t id)
{
	int rc = put(n, name, strlen(name), id, false);

	if (rc == 0 && ob__strmap_put(&n->chosen, name, ob__map_get(&n->by_id, id, 0)) != 0) {
		rc = OB_E_NOMEM;
	}
	return rc;
}

int ob__msgnames_load(struct ob__msgnames *n, const json_t *names)
{
	const char *name;
	json_t *id;
	int rc = 0;

	json_object_foreach ((json_t *)(uintptr_t)names, name, id) {
		int one = ob__msgnames_choose(n, name, (uint32_t)json_integer_value(id));
		rc = rc != 0 ? rc : one;
	}
	return rc;
}

uint32_t ob__msgname_id(const struct ob__msgnames *n, const char *name, size_t len)
{
	if (!ob__msgname_ok(name, len)) {
		return 0;
	}
	const struct ob__msgname *chosen =
		n->chosen.count > 0 ? ob__strmap_getn(&n->chosen, name, len) : NULL;
	return chosen != NULL ? chosen->id : ob__msgname_hash(name, len);
}

int ob__msgname_know(struct ob__msgnames *n, const char *name, size_t len, uint32_t *id)
{
	*id = ob__msgname_id(n, name, len);
	return *id != 0 ? put(n, name, len, *id, false) : OB_E_INVAL;
}

bool ob__msgname_taken(const struct ob__msgnames *n, const char *name, size_t len, uint32_t id)
{
	const struct ob__msgname *known = ob__msgname_own(n, id);

	return known != NULL && !is_name(known, name, len);
}

/* ---- between nodes ---- */

uint16_t ob__msgname_ext_put(const struct ob__msgnames *n, uint32_t id, uint8_t *ext)
{
	const struct ob__msgname *known = ob__msgname_of(n, id);

	return known == NULL
	               ? 0
	               : (uint16_t)ob__frame_ext_put(ext, 0, OB__MSGNAME_EXT_MAX,
	                                             OB__FRAME_EXT_METHOD, known->name, known->len);
}

void ob__msgname_heard(struct ob__msgnames *n, const struct ob__frame *f, uint32_t id)
{
	uint16_t len;
	const char *name = (const char *)ob__frame_ext(f, OB__FRAME_EXT_METHOD, &len);

	if (name != NULL && id != 0 && id <= INT32_MAX && ob__msgname_ok(name, len) &&
	    (id < OB_NAME_ID_MIN || id == ob__msgname_hash(name, len))) {
		(void)put(n, name, len, id, true); /* as far as nobody else has chosen */
	}
}

uint32_t ob__msgname_role(struct ob__node *node, const char *name, size_t len)
{
	const char *dot = memchr(name, '.', len);
	uint32_t id = ob__msgname_id(&node->msgnames, name, len);
	uint32_t role = id != 0 ? ob__router_role(&node->router, id) : 0;
	char word[OB_NAME_MAX + 1];

	if (id == 0 || role != 0 || dot == NULL || dot == name) {
		return role;
	}
	memcpy(word, name, (size_t)(dot - name));
	word[dot - name] = '\0';
	role = ob__fnv1a32(word);
	return role != node->self.role_id && ob__registry_role_get(&node->registry, role) != NULL
	               ? role
	               : 0;
}

json_t *ob__msgnames_json(const struct ob__msgnames *n)
{
	json_t *names = json_object();
	const struct ob__map_entry *e;
	size_t shown = 0;

	for (size_t pos = 0; (e = ob__map_next(&n->by_id, &pos)) != NULL;) {
		const struct ob__msgname *known = e->value;
		if (shown++ >= OB__MSGNAMES_SHOWN) {
			break;
		}
		json_object_set_new(names, known->name, json_integer(known->id));
	}
	return names;
}
