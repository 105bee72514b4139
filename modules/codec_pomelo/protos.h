/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  Protos: what pomelo-protobuf's messages are made of, by route.  They
 * are written as in a pomelo project's config/serverProtos.json and clientProtos.json,
 *
 *     {"onMove": {"required uInt32 x": 1, "repeated Item bag": 2, "message Item": {...}},
 *      "message Item": {...}}
 *
 * and clients get them as a list of fields.  A type that is none of the eight names a message: of
 * the same message's own ones, or of the outermost ones.
 */

#ifndef POMELO_PROTOS_H
#define POMELO_PROTOS_H

#include <stdbool.h>
#include <stdint.h>

#include <obhost/obhost.h>

enum pomelo_option { POMELO_REQUIRED, POMELO_OPTIONAL, POMELO_REPEATED };

enum pomelo_kind {
	POMELO_UINT32,
	POMELO_SINT32, /* int32 as well */
	POMELO_FLOAT,
	POMELO_DOUBLE,
	POMELO_STRING,
	POMELO_MESSAGE,
};

struct pomelo_field {
	const char *name;
	enum pomelo_option option;
	enum pomelo_kind kind;
	uint32_t tag;
	const struct pomelo_proto *message; /* POMELO_MESSAGE's */
};

struct pomelo_proto {
	const char *name; /* the route, or the message's */
	size_t len;
	struct pomelo_field *fields;

	struct pomelo_proto *next; /* in the list of all */
	const json_t *parsed;
};

struct pomelo_protos {
	json_t *parsed; /* as clients get them; NULL: there are none */
	struct pomelo_proto *all;
	size_t len;
	const struct pomelo_proto **routes; /* the outermost, in the order of their names */
};

/* Reads them into zeroed `protos`; source NULL: none. What `protos` then has is its own, also when
 * this fails. 0, or negative with err; `what` stands in its text. */
int pomelo_protos_read(struct pomelo_protos *protos, const char *what, const json_t *source,
                       ob_err *err);
void pomelo_protos_free(struct pomelo_protos *protos);

/* The place of a route in `routes`, negative: it has no proto. */
int pomelo_protos_find(const struct pomelo_protos *protos, const char *route, size_t len);

/* The field with that name or tag, or NULL. */
const struct pomelo_field *pomelo_field_named(const struct pomelo_proto *proto, const char *name);
const struct pomelo_field *pomelo_field_tagged(const struct pomelo_proto *proto, uint64_t tag);

#endif
