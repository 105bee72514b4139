/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  One message for many clients of this node.
 *
 * The message is encoded once for each codec and framing that its receivers have, if what the codec
 * writes depends on nothing but the message (it keeps no state with a connection, or says so with
 * OB_CODEC_SHARED); once for each variant of a codec that tells them; for others once for each.
 * Small ones are copied into each connection's output, large ones referenced.  Each connection's
 * bound and its policy for slow clients hold as for a message of its own.
 *
 * No module runs between begin and end, so nothing that a module sends because of this message can
 * overtake it: clients that are too slow are closed at the end (host/client/too_slow.h).
 */

#ifndef OB__FANOUT_H
#define OB__FANOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#define OB__FANOUT_FORMS 8u /* more of them are encoded for each client */

struct ob__conn;
struct ob__node;
struct ob__rbuf;
struct ob__reg;

/* The message as it goes out: bytes [at, at + len). */
struct ob__form {
	uint64_t codec; /* its registration's number, as another one may come before the end */
	uint32_t variant;
	uint8_t kind; /* see ob__fanout_form() */
	bool failed;  /* it can't be encoded */
	struct ob__rbuf *bytes;
	size_t at;
	size_t len;
};

struct ob__fanout {
	struct ob__node *node;
	ob_packet packet;
	bool at_once; /* set after begin: it is written without waiting for more to come */
	struct ob__form forms[OB__FANOUT_FORMS];
	uint32_t forms_len;
};

/* `data` is borrowed until the end. */
void ob__fanout_begin(struct ob__fanout *fo, struct ob__node *node, uint32_t id, const void *data,
                      size_t len);

/* To one of them, counted as any push.  0, OB_E_STALE, OB_E_BUSY (dropped) or another failure. */
int ob__fanout_to(struct ob__fanout *fo, uint64_t conn);

/* Frees what there is, closes who was too slow. */
void ob__fanout_end(struct ob__fanout *fo);

/* The same for one that goes on and off: whoever sends it holds and releases, and what
 * ob__fanout_bytes() tells of is kept in between. */
void ob__fanout_init(struct ob__fanout *fo, struct ob__node *node, uint32_t id, const void *data,
                     size_t len);
void ob__fanout_free(struct ob__fanout *fo);
size_t ob__fanout_bytes(const struct ob__fanout *fo);

/* ---- for host/client/conn_out.c ---- */

/* The form for a variant of a codec, perhaps still to be made (bytes is NULL, failed is not set);
 * NULL when there is no place for one.  `kind` is one number for each way of framing it. */
struct ob__form *ob__fanout_form(struct ob__fanout *fo, const struct ob__reg *codec,
                                 uint32_t variant, uint8_t kind);

#endif
