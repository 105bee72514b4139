/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  What two proxies say to each other when a client comes back to
 * the other one (host/session/resume.h): the second asks with the client's token, and the one that
 * its session would have there, the first answers with all that makes up the session; or with the
 * token by which yet another proxy has it (status OB__RESUME_MOVED).
 *
 *     ASK    64 token | u64 seen | 64 token | u64 age
 *     GIVE   u64 sent | u64 heard | word user | word state | u16 len | its data
 *            | u8 n, n times (word key | u16 len | value)
 *            | u16 n, n times (u32 role | u64 node) | u32 n, n times word group
 *            | u32 n, n times (u8 kind | u32 id | u64 cookie | u32 status | u8 len | name
 *                              | u32 len | data)
 *
 * A word is u8 len | text.  A state has no name when the session is where all begin, and then no
 * data, which else is JSON, or nothing.  The messages are the last ones up to number `sent`.
 */

#ifndef OB__RESUMEWIRE_H
#define OB__RESUMEWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "lib/buf.h"
#include "lib/replay.h"
#include "mesh/resumetoken.h"
#include "mesh/userwire.h"

#define OB__RESUME_ASK (2 * OB__RESUME_TOKEN + 16u)

struct ob__resume_ask {
	struct ob__resume_token token; /* the client's */
	struct ob__resume_token here;  /* of the session that it has at the asking proxy */
	uint64_t seen;                 /* the last message that it has seen */
	uint64_t age_us;               /* since its connection was made */
};

void ob__resume_ask_put(uint8_t out[OB__RESUME_ASK], const struct ob__resume_ask *ask);

/* 0 or -EINVAL. */
int ob__resume_ask_get(struct ob__resume_ask *ask, const uint8_t *data, size_t len);

/* ---- writing a GIVE: all parts, in this order; 0 or -ENOMEM ---- */

int ob__give_head(struct ob__buf *b, uint64_t sent, uint64_t heard, const char *user);
int ob__give_state(struct ob__buf *b, const char *state, const void *data, uint16_t len);
int ob__give_attrs(struct ob__buf *b, uint8_t count);
int ob__give_attr(struct ob__buf *b, const char *key, const void *value, uint16_t len);
int ob__give_homes(struct ob__buf *b, uint16_t count);
int ob__give_home(struct ob__buf *b, const struct ob__home *home);
int ob__give_groups(struct ob__buf *b, uint32_t count);
int ob__give_group(struct ob__buf *b, const char *group);
int ob__give_messages(struct ob__buf *b, uint32_t count);
int ob__give_message(struct ob__buf *b, const struct ob__replay_msg *msg);

/* ---- reading it ---- */

struct ob__give_part {
	const uint8_t *at;
	uint32_t count;
};

struct ob__give {
	uint64_t sent;
	uint64_t heard;
	char user[OB__USER_MAX + 1];  /* "": nobody's */
	char state[OB_STATE_MAX + 1]; /* "": the first one */
	const uint8_t *state_data;
	uint16_t state_len;
	struct ob__give_part attrs, homes, groups, messages;
};

struct ob__give_attr {
	char key[OB__KEY_MAX + 1];
	const uint8_t *value;
	uint16_t len;
};

/* Checks all of it: 0, or -EINVAL.  The parts point into data. */
int ob__give_get(struct ob__give *g, const uint8_t *data, size_t len);

/* The next of a part of a GIVE that was checked; as often as its count says. */
void ob__give_next_attr(struct ob__give_part *p, struct ob__give_attr *attr);
void ob__give_next_home(struct ob__give_part *p, struct ob__home *home);
void ob__give_next_group(struct ob__give_part *p, char group[OB__USER_MAX + 1]);
void ob__give_next_message(struct ob__give_part *p, struct ob__replay_msg *msg);

#endif
