/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  What two nodes say before they trust each other; no sockets.
 *
 * Four steps: the dialer says who it is, the acceptor says who it is, the dialer proves that it
 * knows the token, the acceptor checks and proves the same.  Both proofs cover everything said:
 *
 *     T = "obhost-link-1" | dialer id, incarnation, role | acceptor id, incarnation, role
 *         | dialer nonce | acceptor nonce | both version ranges | both feature words | exporter
 *
 * each field with its length in front (u16, little-endian), numbers little-endian, a version range
 * as two bytes; K = HKDF-SHA256(token), no salt, info "obhost-link-1", 32 bytes; the proof is
 * HMAC-SHA256(K, 'D' | T) or HMAC-SHA256(K, 'A' | T).  So a proof can't be replayed, reflected, or
 * moved to another pair, role or version.
 */

#ifndef OB__HELLO_H
#define OB__HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__HELLO_MAX       512u /* bytes of a whole hello frame */
#define OB__HELLO_NAME      64u  /* most bytes of a name or role, terminator included */
#define OB__HELLO_NONCE     32u
#define OB__HELLO_MAC       32u
#define OB__HELLO_TOKEN_MIN 16u

/* Features. */
#define OB__HELLO_PARTS 1u /* takes large frames in pieces (mesh/backlog.h) */
#define OB__HELLO_MANY  2u /* takes several messages in one frame (lib/many.h) */

struct ob__hello {
	uint64_t id;
	uint64_t incarnation;
	char name[OB__HELLO_NAME];
	char role[OB__HELLO_NAME];
	uint8_t nonce[OB__HELLO_NONCE];
	uint8_t version_min;
	uint8_t version_max;
	uint32_t features;
};

/* Writes the payload of step 1 or 2; its size, or 0 when `cap` is too small. */
size_t ob__hello_put(const struct ob__hello *h, uint8_t *out, size_t cap);

/* Reads one. 0, or -EPROTO: wrong length, empty or overlong or unprintable name or role, an id that
 * is not the name's, version 0, versions upside down.  The form is
 *
 *     u64 id | u64 incarnation | u8 version min | u8 version max | u32 features | 32 nonce
 *         | u8 length, name | u8 length, role
 *
 * little-endian, names printable ASCII without spaces. */
int ob__hello_get(struct ob__hello *h, const uint8_t *data, size_t len);

/* Fills a fresh nonce. 0 or -EIO. */
int ob__hello_nonce(uint8_t nonce[OB__HELLO_NONCE]);

/* The highest version both speak, or 0. */
uint8_t ob__hello_version(const struct ob__hello *a, const struct ob__hello *b);

/* K for a token. 0; -EINVAL for one of fewer than OB__HELLO_TOKEN_MIN bytes; -ENOMEM, -EIO. */
int ob__hello_key(const char *token, uint8_t key[32]);

#define OB__HELLO_PSK    32u
#define OB__HELLO_PSK_ID 8u

/* What a token gives to TLS: a key, and a name for the key.  HKDF as above, infos
 * "obhost-link-psk-1" and "obhost-link-psk-id-1". Returns as ob__hello_key(). */
int ob__hello_psk(const char *token, uint8_t psk[OB__HELLO_PSK], uint8_t id[OB__HELLO_PSK_ID]);

/* `side`: 'D' or 'A'.  exporter may be NULL with length 0, and has at most 64 bytes. 0, -EINVAL,
 * -EIO. */
int ob__hello_mac(const uint8_t key[32], char side, const struct ob__hello *dialer,
                  const struct ob__hello *acceptor, const uint8_t *exporter, size_t exporter_len,
                  uint8_t mac[OB__HELLO_MAC]);

/* Compares in constant time. */
bool ob__hello_mac_equal(const uint8_t a[OB__HELLO_MAC], const uint8_t b[OB__HELLO_MAC]);

#endif
