/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Names of messages.
 *
 * Names and ids are one thing: a name has an id, and everything that goes by ids (handlers,
 * filters, routes, policies, permits) goes for messages with names as well.  The configuration
 * chooses ids for some (`names`); any other name has one that follows from its letters, from 2^30
 * on.  So nodes need not agree about names: they compute the same.
 *
 * The way back, which a codec needs to say a name, is a table.  It has the configuration's names,
 * those that handlers are registered for or modules push by, and those that other nodes' pushes
 * brought along; never what clients say.  Nothing leaves it.
 *
 * What was only heard from other nodes is for codecs and for pushes on their way.  It is not shown
 * to who looks at a message, as that may decide by it; it has half of the table at most, must fit
 * its id if that is a name's, and gives way to a name of this node's own.
 */

#ifndef OB__MSGNAME_H
#define OB__MSGNAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <obhost/obhost.h>

#include "lib/frame.h"
#include "lib/map.h"

#define OB__MSGNAMES_MAX    65536u
#define OB__MSGNAMES_HEARD  (OB__MSGNAMES_MAX / 2)
#define OB__MSGNAMES_SHOWN  1000u
#define OB__MSGNAME_EXT_MAX (OB_NAME_MAX + 8u)

struct ob__node;

struct ob__msgname {
	struct ob__msgname *before; /* one that was heard and gave way; it may still be in use */
	uint32_t id;
	uint16_t len;
	bool heard;  /* only from other nodes */
	char name[]; /* terminated */
};

struct ob__msgnames {
	struct ob__map by_id;     /* all that are known; owns them */
	struct ob__strmap chosen; /* the configuration's */
	uint32_t heard;           /* how many came from other nodes */
};

/* 1 to OB_NAME_MAX bytes of UTF-8 without control characters. */
bool ob__msgname_ok(const char *name, size_t len);

/* The id that follows from the letters. */
uint32_t ob__msgname_hash(const char *name, size_t len);

void ob__msgnames_init(struct ob__msgnames *n, uint64_t seed);
void ob__msgnames_free(struct ob__msgnames *n);

/* Gives the name an id of somebody's choice. 0, OB_E_EXISTS, OB_E_LIMIT, OB_E_NOMEM. */
int ob__msgnames_choose(struct ob__msgnames *n, const char *name, uint32_t id);

/* The same for all of {"name": id, ...}, or NULL. */
int ob__msgnames_load(struct ob__msgnames *n, const json_t *names);

/* The id of a name; 0: it is none. */
uint32_t ob__msgname_id(const struct ob__msgnames *n, const char *name, size_t len);

/* The same, and the name is known from now on. 0; OB_E_INVAL; OB_E_EXISTS: another name has that
 * id; OB_E_LIMIT, OB_E_NOMEM. */
int ob__msgname_know(struct ob__msgnames *n, const char *name, size_t len, uint32_t *id);

/* The name of an id, or NULL.  It stays as long as the table. */
static inline const struct ob__msgname *ob__msgname_of(const struct ob__msgnames *n, uint32_t id)
{
	return n->by_id.count == 0 ? NULL : ob__map_get(&n->by_id, id, 0);
}

/* The same without what was only heard. */
static inline const struct ob__msgname *ob__msgname_own(const struct ob__msgnames *n, uint32_t id)
{
	const struct ob__msgname *known = ob__msgname_of(n, id);

	return known != NULL && !known->heard ? known : NULL;
}

/* Whether the id of a name is known to be another name's: it means that one wherever ids decide. */
bool ob__msgname_taken(const struct ob__msgnames *n, const char *name, size_t len, uint32_t id);

/* Tells a codec the name of what it is to encode. */
static inline void ob__msgname_tell(const struct ob__msgnames *n, ob_packet *p)
{
	const struct ob__msgname *known = ob__msgname_of(n, p->id);

	if (known != NULL) {
		p->name = known->name;
		p->name_len = known->len;
	}
}

/* A push as a codec gets it, with the name that its id has.  Borrows `data`. */
static inline ob_packet ob__push_packet(const struct ob__msgnames *n, uint32_t id, const void *data,
                                        size_t len)
{
	ob_packet p = {
		.size = sizeof(p),
		.kind = OB_PACKET_PUSH,
		.id = id,
		.data = data,
		.len = len,
	};

	ob__msgname_tell(n, &p);
	return p;
}

/* Shows who looks at a message its name. */
static inline void ob__msgname_show(const struct ob__msgnames *n, ob_view *v)
{
	const struct ob__msgname *known = ob__msgname_own(n, v->id);

	v->name = known != NULL ? known->name : NULL;
	v->name_len = known != NULL ? known->len : 0;
}

/* The extension of a push that says the name of its id, into OB__MSGNAME_EXT_MAX bytes: how many,
 * 0 for an id without a name. */
uint16_t ob__msgname_ext_put(const struct ob__msgnames *n, uint32_t id, uint8_t *ext);

/* What a frame says of the name of the id that it is about is known from now on, if it can be. */
void ob__msgname_heard(struct ob__msgnames *n, const struct ob__frame *f, uint32_t id);

/* The role that takes the name: by the route table, else what stands before its first dot, if there
 * is such a role and it is not this node's own; 0: nobody knows. */
uint32_t ob__msgname_role(struct ob__node *node, const char *name, size_t len);

/* {"name": id, ...}, as many as OB__MSGNAMES_SHOWN; new reference. */
json_t *ob__msgnames_json(const struct ob__msgnames *n);

#endif
