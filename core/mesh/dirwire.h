/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  What members and route nodes say about who is there.
 *
 * Payloads of system frames (mesh/proto.h), little-endian; a record is that of mesh/member.h:
 *
 *     ANNOUNCE   record, whole, state up
 *     BEAT       u64 incarnation | u32 rev | u32 load
 *     LEAVE      u64 incarnation
 *     SUBSCRIBE  u64 boot | u64 seq: how far the member had followed which life of the route node
 *     ASK        u64 id
 *     HIGHER     u64 id | u64 incarnation
 *     DELTA      u64 boot | u64 seq | u16 records | u16 flags | records
 *     AGAIN      nothing
 *
 * A route node numbers its changes.  A DELTA says of which life of it (`boot`, its incarnation) and
 * up to which change it goes; in the frames of a snapshot only the last one's number counts.
 */

#ifndef OB__DIRWIRE_H
#define OB__DIRWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/member.h"

#define OB__DELTA_HEAD      20u
#define OB__DELTA_MAX       (60u * 1024) /* bytes of one payload */
#define OB__BEAT_SIZE       16u
#define OB__LEAVE_SIZE      8u
#define OB__SUBSCRIBE_SIZE  16u
#define OB__ASK_SIZE        8u
#define OB__HIGHER_SIZE     16u
#define OB__DIR_PAYLOAD_MAX OB__DELTA_MAX

enum ob__delta_flag {
	OB__DELTA_SETTLING = 1u << 0, /* the route node has just begun: what it does not list is not
	                               * known yet, rather than gone */
	OB__DELTA_BEGIN = 1u << 1,    /* a snapshot begins: what is not in it is not listed */
	OB__DELTA_MORE = 1u << 2,     /* the batch or snapshot goes on in the next frame */
	OB__DELTA_ANSWER = 1u << 3,   /* about one node that was asked for; no place in the order */
};

/* Messages by kind, and their bytes with the frame's header. */
enum ob__dir_kind {
	OB__DIR_ANNOUNCE,
	OB__DIR_BEAT,
	OB__DIR_LEAVE,
	OB__DIR_SUBSCRIBE,
	OB__DIR_ASK,
	OB__DIR_HIGHER,
	OB__DIR_DELTA,
	OB__DIR_AGAIN,
	OB__DIR_KINDS
};

struct ob__dir_count {
	uint64_t messages;
	uint64_t bytes;
};

struct ob__dir_counts {
	struct ob__dir_count in[OB__DIR_KINDS];
	struct ob__dir_count out[OB__DIR_KINDS];
	uint64_t bad;     /* messages that broke a rule */
	uint64_t refused; /* announcements of a life that is over */
	uint64_t unsent;  /* messages that the link did not take */
};

/* The word of a kind, for counters: "announce", ... */
const char *ob__dir_kind_word(enum ob__dir_kind kind);

/* The kind of a system frame, or -1 if it is not of the directory. */
int ob__dir_kind(uint32_t sys);

/* Which half of a node takes it: true the view of a route node, false the directory. */
bool ob__dir_kind_for_view(enum ob__dir_kind kind);

/* For people: what a negative code of a `receive` says. */
const char *ob__dir_reason(int code);

void ob__dir_count(struct ob__dir_count *of_kind, size_t payload_len);

struct ob__beat {
	uint64_t incarnation;
	uint32_t rev;
	uint32_t load;
};

struct ob__subscribe {
	uint64_t boot; /* 0: from the beginning */
	uint64_t seq;
};

struct ob__higher {
	uint64_t id;
	uint64_t incarnation;
};

struct ob__delta {
	uint64_t boot;
	uint64_t seq;
	uint16_t records;
	uint16_t flags;
};

void ob__beat_put(uint8_t out[OB__BEAT_SIZE], const struct ob__beat *b);
void ob__subscribe_put(uint8_t out[OB__SUBSCRIBE_SIZE], const struct ob__subscribe *s);
void ob__higher_put(uint8_t out[OB__HIGHER_SIZE], const struct ob__higher *h);
void ob__delta_put(uint8_t out[OB__DELTA_HEAD], const struct ob__delta *d);
void ob__dir_u64_put(uint8_t out[8], uint64_t v); /* LEAVE and ASK */

/* 0 or -EPROTO: not of that size (for a delta: shorter than its head, or flags that don't go
 * together). */
int ob__beat_get(struct ob__beat *b, const uint8_t *data, size_t len);
int ob__subscribe_get(struct ob__subscribe *s, const uint8_t *data, size_t len);
int ob__higher_get(struct ob__higher *h, const uint8_t *data, size_t len);
int ob__delta_get(struct ob__delta *d, const uint8_t *data, size_t len);
int ob__dir_u64_get(uint64_t *v, const uint8_t *data, size_t len);

#endif
