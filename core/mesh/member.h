/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  The record of a node, and its form on the wire; no sockets.
 *
 * A record has two parts.  Its head is numbers that change often: which life of the node it is
 * about (`incarnation`), the node's own count of its changes in that life (`rev`), load, weight and
 * state.  Its description is what hardly ever changes, and what takes the room: name, role,
 * addresses, the message ids it serves, its modules.  A description is allocated once, counted, and
 * never changed; it keeps the bytes it came as, so that a route node passes on what a newer node
 * says and it doesn't understand.
 *
 * The form, little-endian:
 *
 *     u64 id | u64 incarnation | u32 rev | u32 load | u16 weight | u8 state | u8 flags (1:
 * draining) | u16 bytes of the description, 0: as before | description
 *
 * The description is fields of { u8 type, u8 zero, u16 length, bytes }; unknown types and flags are
 * skipped.  Text has its terminating zero on the wire and is printable ASCII:
 *
 *     1 name, 2 role     once each; the id is the name's; no spaces
 *     3 address          up to 4: "tcp HOST:PORT", "unix MACHINE PATH", or "NAME ADDRESS" and
 *                        "NAME@MACHINE ADDRESS" of a transport that a module offers
 *     4 ranges           once, up to 32 of { u32 lo, u32 hi }
 *     5 module           up to 64 of { u32 generation, name, version }
 *     6 methods          once: u64, a digest of its methods' names, not 0 (host/call/methods.h)
 *
 * State and draining are apart because the first is for a route node to say (it may take the node
 * for suspect) and the second for the node itself.
 */

#ifndef OB__MEMBER_H
#define OB__MEMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__MEMBER_MAX       4096u /* bytes of a record */
#define OB__MEMBER_HEAD      30u   /* bytes of one without its description */
#define OB__MEMBER_NAME      64u   /* most bytes of a name, role or version, terminator included */
#define OB__MEMBER_ADDRESS   176u  /* of an address, terminator included */
#define OB__MEMBER_ADDRESSES 4u
#define OB__MEMBER_RANGES    32u
#define OB__MEMBER_MODULES   64u
#define OB__MEMBER_WEIGHT    100u /* unless the node says otherwise */

/* The lower the better. */
enum ob__member_state {
	OB__MEMBER_UNKNOWN = 0, /* only in the answer about a node that is not known */
	OB__MEMBER_UP,
	OB__MEMBER_DRAINING, /* never on the wire: up, and the flag */
	OB__MEMBER_SUSPECT,
	OB__MEMBER_DEAD,
	OB__MEMBER_LEFT, /* dead, on purpose */
};

struct ob__member_range {
	uint32_t lo;
	uint32_t hi; /* included */
};

struct ob__member_module {
	const char *name;
	const char *version;
	uint32_t generation;
};

/* What a node says of itself, to make a description of; all borrowed. */
struct ob__member_facts {
	const char *name;
	const char *role;
	const char *const *addresses;
	size_t addresses_len;
	const struct ob__member_range *ranges;
	size_t ranges_len;
	const struct ob__member_module *modules;
	size_t modules_len;
	uint64_t methods; /* the digest, or 0: not said */
};

/* Strings live as long as the description. */
struct ob__description {
	uint32_t refs;
	uint32_t role_id; /* FNV-1a of the role's word */
	uint64_t id;
	uint64_t methods; /* digest of their names, or 0: not said */
	const char *name;
	const char *role;
	const char *addresses[OB__MEMBER_ADDRESSES];
	const uint8_t *ranges; /* see ob__description_range() */
	uint16_t modules_at;   /* where the first module is in `wire` */
	uint16_t wire_len;
	uint8_t addresses_len;
	uint8_t ranges_len;
	uint8_t modules_len;
	uint8_t wire[];
};

struct ob__member {
	uint64_t id;
	uint64_t incarnation;
	uint32_t rev;
	uint32_t load; /* what the node itself counts as busy */
	uint16_t weight;
	uint8_t state; /* enum ob__member_state */
	bool draining;
	struct ob__description *desc;
};

/* A word for people: "up", "draining", ... */
const char *ob__member_state_word(unsigned state);

/*
 * A description with one reference, the caller's.  Modules that no longer fit into a record are
 * left out.  0; -EINVAL: a text that is empty, too long or not printable, a range upside down, too
 * many of a thing; -ENOMEM.
 */
int ob__description_make(struct ob__description **out, const struct ob__member_facts *facts);

/*
 * Reads one that came over the wire about the node `id`; `out` may be NULL to check only.  0;
 * -EPROTO: a field beyond the end, a field that must be there and is not, twice what may be once,
 * text that is not what it should be, an id that is not the name's; -EMSGSIZE: more than fits into
 * a record, or too many of a thing; -ENOMEM.
 */
int ob__description_get(struct ob__description **out, uint64_t id, const uint8_t *data, size_t len);

/* Takes a further reference and returns `d`. */
struct ob__description *ob__description_ref(struct ob__description *d);

/* Gives one back; the last one frees.  NULL is accepted. */
void ob__description_unref(struct ob__description *d);

/* True if both say the same, byte by byte; either may be NULL. */
bool ob__description_equal(const struct ob__description *a, const struct ob__description *b);

/* i < ranges_len. */
struct ob__member_range ob__description_range(const struct ob__description *d, size_t i);

/* The next module at or after *pos (0 at first), moving *pos past it; false at the end. */
bool ob__description_module(const struct ob__description *d, size_t *pos,
                            struct ob__member_module *module);

/* Writes a record, with its description if `whole`; its size, or 0 when `cap` is too small. */
size_t ob__member_put(const struct ob__member *m, bool whole, uint8_t *out, size_t cap);

/*
 * Reads the record that `data` begins with.  m->desc becomes NULL; the description's bytes, not yet
 * looked at, are in *wire and *wire_len (borrowed; 0: there is none).  Returns the record's length,
 * or -EPROTO: cut off, id 0, rev 0 of one that lives, a state that is none or OB__MEMBER_DRAINING;
 * -EMSGSIZE: longer than OB__MEMBER_MAX.
 */
int ob__member_get(struct ob__member *m, const uint8_t *data, size_t len, const uint8_t **wire,
                   size_t *wire_len);

enum ob__address_kind {
	OB__ADDRESS_OTHER = 0, /* of a newer node; can't be dialled */
	OB__ADDRESS_TCP,
	OB__ADDRESS_UNIX,
	OB__ADDRESS_TRANSPORT, /* of a module's transport, if it is offered here as well */
};

struct ob__address {
	enum ob__address_kind kind;
	char host[OB__MEMBER_ADDRESS]; /* tcp: without the brackets of an IPv6 address; the
	                                * transport's name */
	int port;
	uint64_t machine; /* unix, and a transport's or 0: only to be dialled where this is the own
	                   * machine's */
	char path[108];   /* fits into a sockaddr_un; the transport's address */
};

/* Reads an address; 0 or -EINVAL: "tcp" without a host or a port of 1..65535, "unix" without a
 * machine of 16 hex digits or an absolute path that fits. */
int ob__address_get(struct ob__address *out, const char *text);

/* Writes one ("tcp [::1]:21000", "unix 0123456789abcdef /run/x.sock"); 0 or -EINVAL when it does
 * not fit or could not be read again. */
int ob__address_put(const struct ob__address *a, char out[OB__MEMBER_ADDRESS]);

#endif
