/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to tools and bench: the two small computations both ends of a WebSocket need, the answer
 * to a handshake key (RFC 6455 section 4.2.2) and the mask. Needs -lcrypto.
 */
#ifndef OB__WSKEY_H
#define OB__WSKEY_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

enum { OB__WSKEY_MAX = 64, OB__WSKEY_ACCEPT = 29 };

/* Writes the NUL-terminated Sec-WebSocket-Accept for key; -1 if the key is too long. */
static inline int ob__wskey_accept(const char *key, char accept[OB__WSKEY_ACCEPT])
{
	char text[OB__WSKEY_MAX + 64];
	unsigned char sum[SHA_DIGEST_LENGTH];

	if (strlen(key) > OB__WSKEY_MAX) {
		return -1;
	}
	int n = snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	SHA1((const unsigned char *)text, (size_t)n, sum);
	EVP_EncodeBlock((unsigned char *)accept, sum, sizeof(sum));
	return 0;
}

/* XORs n bytes with the 4-byte key, 8 at a time. dst may be src or lie before it. */
static inline void ob__wskey_mask(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4])
{
	uint32_t k32;
	size_t i = 0;

	memcpy(&k32, key, 4);
	uint64_t k64 = (uint64_t)k32 << 32 | k32;
	for (; i + 8 <= n; i += 8) {
		uint64_t v;
		memcpy(&v, src + i, 8);
		v ^= k64;
		memcpy(dst + i, &v, 8);
	}
	for (; i < n; i++) {
		dst[i] = src[i] ^ key[i & 3];
	}
}

#endif
