/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  What nodes say about users.
 *
 * Payloads of system frames (mesh/proto.h), little-endian; which session is meant stands in the
 * frame's header, a word is a byte for its length and the bytes:
 *
 *     BIND, UNBIND, USER_CLAIM, USER_RELEASE, USER_FENCED, USER_FIND, SESSION_USER
 *                  u64 epoch | u32 change | word user (may be empty in SESSION_USER)
 *     USER_LOCK, USER_UNLOCK
 *                  u64 locker | u32 ms | u32 flags | word user | word key
 *     USER_SEND, USER_STALE
 *                  u8 kind | u8 tries | u16 zero | u32 id | u32 at | u64 tag | word user | data
 *     USER_HOME    the same as CLAIM, then any number of: u32 role | u64 node
 *     SESSION_SET  word key | value
 *     SESSION_ENTER, EVENT
 *                  word name | data, as JSON text, or nothing
 *     the extension ATTRS of a request: any number of
 *                  word key | u16 length | value
 *     the end of a BIND, USER_CLAIM or USER_FIND
 *                  u64 node | u64 seq | u64 epoch
 *
 * A user id is 1 to 64 bytes without control characters; a key of an attribute or lock 1 to 32 of
 * the same.
 */

#ifndef OB__USERWIRE_H
#define OB__USERWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__USER_MAX  64u
#define OB__KEY_MAX   32u
#define OB__VALUE_MAX 256u

#define OB__USER_WIRE_MAX  (12u + 1 + OB__USER_MAX)
#define OB__LOCK_WIRE_MAX  (16u + 1 + OB__USER_MAX + 1 + OB__KEY_MAX)
#define OB__SEND_HEAD_MAX  (20u + 1 + OB__USER_MAX)
#define OB__ATTR_WIRE_MAX  (1u + OB__KEY_MAX + OB__VALUE_MAX)
#define OB__PLACE_SIZE     24u
#define OB__HOMES_MAX      4u
#define OB__HOME_WIRE_MAX  (OB__USER_WIRE_MAX + OB__HOMES_MAX * 12u)
#define OB__CARRY_MAX      4u /* attributes of a session that go along with its messages */
#define OB__CARRY_WIRE_MAX (OB__CARRY_MAX * (1u + OB__KEY_MAX + 2u + OB__VALUE_MAX))

/* Words in here are terminated. */
struct ob__user_msg {
	uint64_t epoch;
	uint32_t change; /* from a session's proxy: grows each time the session's user changes */
	char user[OB__USER_MAX + 1];
};

#define OB__LOCK_KEEP  1u /* of an UNLOCK: it goes on until its time is over, but nobody's now */
#define OB__LOCK_RELAY 2u /* to the session's proxy: pass it on to the keeper */

struct ob__lock_msg {
	uint64_t locker; /* node */
	uint32_t ms;
	uint32_t flags;
	char user[OB__USER_MAX + 1];
	char key[OB__KEY_MAX + 1];
};

enum ob__send_kind {
	OB__SEND_PUSH = 1, /* id, data */
	OB__SEND_KICK,     /* data: the reason */
};

struct ob__send_msg {
	uint8_t kind;
	uint8_t tries;
	uint32_t id;
	uint32_t at;  /* its sender's clock in ms, */
	uint64_t tag; /* and its mark, to know it again: nobody else's business */
	char user[OB__USER_MAX + 1];
	const uint8_t *data; /* borrowed */
	size_t len;
};

struct ob__attr_msg {
	char key[OB__KEY_MAX + 1];
	const uint8_t *value; /* borrowed */
	size_t len;
};

/* The name of a state or of an event, and what goes with it. */
#define OB__NAMED_WORD_MAX 64u

struct ob__named_msg {
	char name[OB__NAMED_WORD_MAX + 1];
	const uint8_t *data; /* borrowed */
	size_t len;
};

/* The node that has had a user's messages to a role. */
struct ob__home {
	uint32_t role;
	uint64_t node;
};

struct ob__home_msg {
	struct ob__user_msg user;
	struct ob__home homes[OB__HOMES_MAX];
	uint8_t len;
};

struct ob__place {
	uint64_t node;
	uint64_t seq;
	uint64_t epoch;
};

/* 1..64 resp. 1..32 bytes, no control characters. */
bool ob__user_ok(const char *user);
bool ob__key_ok(const char *key);

/* Writers return the bytes written; `out` has room for the format's maximum. */
size_t ob__user_put(uint8_t out[OB__USER_WIRE_MAX], const char *user, uint64_t epoch,
                    uint32_t change);
size_t ob__home_put(uint8_t out[OB__HOME_WIRE_MAX], const struct ob__home_msg *m);
size_t ob__lock_put(uint8_t out[OB__LOCK_WIRE_MAX], const struct ob__lock_msg *m);
size_t ob__send_put_head(uint8_t out[OB__SEND_HEAD_MAX], const struct ob__send_msg *m);
size_t ob__attr_put(uint8_t out[OB__ATTR_WIRE_MAX], const char *key, const void *value, size_t len);
size_t ob__named_put_head(uint8_t out[1 + OB__NAMED_WORD_MAX], const char *name);
/* Appends one attribute of an extension ATTRS, whose value has at most OB__VALUE_MAX bytes; `out`
 * has room for 35 bytes more.  And finds one in it: NULL if it is not there, or the extension is
 * none.
 */
size_t ob__carry_put(uint8_t *out, const char *key, const void *value, size_t len);
const uint8_t *ob__carry_find(const uint8_t *ext, size_t ext_len, const char *key, size_t *len);

void ob__place_put(uint8_t out[OB__PLACE_SIZE], const struct ob__place *p);

/* 0, or -EPROTO for what breaks the rules above. */
int ob__user_get(struct ob__user_msg *m, const uint8_t *data, size_t len, bool may_be_empty);
int ob__home_get(struct ob__home_msg *m, const uint8_t *data, size_t len);
int ob__lock_get(struct ob__lock_msg *m, const uint8_t *data, size_t len);
int ob__send_get(struct ob__send_msg *m, const uint8_t *data, size_t len);
int ob__attr_get(struct ob__attr_msg *m, const uint8_t *data, size_t len);
int ob__named_get(struct ob__named_msg *m, const uint8_t *data, size_t len);
int ob__place_get(struct ob__place *p, const uint8_t *data, size_t len);

#endif
