/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  What nodes say about groups.
 *
 * All but the pushes are SYSTEM frames with a destination (mesh/proto.h); they name no session in
 * their headers, so that they stay in order with the pushes from the same node
 * (mesh/pushwire.h).  Little-endian; a word is a byte for its length and the bytes:
 *
 *     JOIN, LEAVE   u64 seq | word group; to a session's proxy.  A JOIN's call id is its number
 *     HEARD         nothing; back: the JOIN of that number, and those before, have been done;
 *                   status: what became of it
 *     ASK           u64 life | u64 version: tell me which groups you have, that much I know
 *     TELL          u64 life | u64 from | u64 to | u64 part | any number of u64 entry
 *     COUNT         word group; answered by a REPLY with u32 members
 *     a push        word group | data
 *
 * `life` is another one each time the teller has started, `version` how often what it tells of has
 * changed in that time; 0 and 0: nothing is known.  An entry is a group's number (mesh/group.h)
 * with OB__GROUP_THERE, or without when nobody is in it any more.  A TELL is one of two things,
 * which its status says.  A change leads from one version to another, by as many entries.  A PART
 * is of the whole, which a FIRST begins and a LAST ends; it changes no version, its entries are
 * all THERE, and parts are numbered from 0 on.
 */

#ifndef OB__GROUPWIRE_H
#define OB__GROUPWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/group.h"

#define OB__GROUP_THERE        (UINT64_C(1) << 63)
#define OB__GROUP_WORD_MAX     (1u + OB__GROUP_MAX)
#define OB__GROUP_JOIN_MAX     (8u + OB__GROUP_WORD_MAX)
#define OB__GROUP_ASK_SIZE     16u
#define OB__GROUP_TELL_HEAD    32u
#define OB__GROUP_TELL_ENTRIES 896u /* in one frame: it fits where frames are smallest */
#define OB__GROUP_TELL_MAX     (OB__GROUP_TELL_HEAD + 8u * OB__GROUP_TELL_ENTRIES)

enum ob__group_tell {
	OB__GROUP_PART = 1,
	OB__GROUP_FIRST = 2,
	OB__GROUP_LAST = 4,
};

struct ob__group_join_msg {
	uint64_t seq;
	char group[OB__GROUP_MAX + 1];
};

struct ob__group_tell_msg {
	uint64_t life;
	uint64_t from;
	uint64_t to;
	uint64_t part;
	const uint8_t *entries; /* borrowed */
	size_t count;
};

/* Writers return the bytes written; `out` has room for the maximum, a TELL's for its head and eight
 * bytes an entry. */
size_t ob__group_word_put(uint8_t out[OB__GROUP_WORD_MAX], const char *group);
size_t ob__group_join_put(uint8_t out[OB__GROUP_JOIN_MAX], uint64_t seq, const char *group);
size_t ob__group_ask_put(uint8_t out[OB__GROUP_ASK_SIZE], uint64_t life, uint64_t version);
size_t ob__group_tell_put(uint8_t *out, const struct ob__group_tell_msg *m,
                          const uint64_t *entries);

/* The bytes of the word at the front, which is copied; 0: it is no group's name. */
size_t ob__group_word_get(char group[OB__GROUP_MAX + 1], const uint8_t *data, size_t len);

/* 0, or -EPROTO for what breaks the rules above. */
int ob__group_join_get(struct ob__group_join_msg *m, const uint8_t *data, size_t len);
int ob__group_ask_get(uint64_t *life, uint64_t *version, const uint8_t *data, size_t len);
int ob__group_tell_get(struct ob__group_tell_msg *m, uint8_t status, const uint8_t *data,
                       size_t len);

uint64_t ob__group_entry(const struct ob__group_tell_msg *m, size_t i);

#endif
