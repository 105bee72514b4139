/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/resumetoken.h"

#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "lib/le.h"

#define NAMED 16u /* bytes of node and sequence */

int ob__resume_key(uint8_t key[OB__RESUME_KEY])
{
	return RAND_bytes(key, OB__RESUME_KEY) == 1 ? 0 : -EIO;
}

int ob__resume_token_make(struct ob__resume_token *t, const uint8_t key[OB__RESUME_KEY],
                          uint64_t node, uint64_t seq)
{
	static const char purpose[] = "obhost-resume-1";
	uint8_t said[sizeof(purpose) + NAMED];
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	memcpy(said, purpose, sizeof(purpose));
	ob__put64(said + sizeof(purpose), node);
	ob__put64(said + sizeof(purpose) + 8, seq);
	if (HMAC(EVP_sha256(), key, OB__RESUME_KEY, said, sizeof(said), mac, &len) == NULL) {
		return -EIO;
	}
	*t = (struct ob__resume_token){.node = node, .seq = seq};
	memcpy(t->proof, mac, sizeof(t->proof));
	return 0;
}

bool ob__resume_token_ok(const struct ob__resume_token *t, const uint8_t key[OB__RESUME_KEY])
{
	struct ob__resume_token own;

	return ob__resume_token_make(&own, key, t->node, t->seq) == 0 &&
	       CRYPTO_memcmp(own.proof, t->proof, sizeof(own.proof)) == 0;
}

static void put_byte(char *out, uint8_t byte)
{
	static const char digits[] = "0123456789abcdef";

	out[0] = digits[byte >> 4];
	out[1] = digits[byte & 15];
}

void ob__resume_token_put(const struct ob__resume_token *t, char out[OB__RESUME_TOKEN])
{
	for (unsigned i = 0; i < 8; i++) {
		put_byte(out + 2 * i, (uint8_t)(t->node >> (56 - 8 * i)));
		put_byte(out + 16 + 2 * i, (uint8_t)(t->seq >> (56 - 8 * i)));
	}
	for (unsigned i = 0; i < OB__RESUME_PROOF; i++) {
		put_byte(out + 32 + 2 * i, t->proof[i]);
	}
}

static int digit(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int ob__resume_token_get(struct ob__resume_token *t, const char *text, size_t len)
{
	uint8_t bytes[OB__RESUME_TOKEN / 2];

	if (len != OB__RESUME_TOKEN) {
		return -EINVAL;
	}
	for (unsigned i = 0; i < sizeof(bytes); i++) {
		int high = digit(text[2 * i]);
		int low = digit(text[2 * i + 1]);
		if (high < 0 || low < 0) {
			return -EINVAL;
		}
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	*t = (struct ob__resume_token){.node = 0};
	for (unsigned i = 0; i < 8; i++) {
		t->node = t->node << 8 | bytes[i];
		t->seq = t->seq << 8 | bytes[8 + i];
	}
	memcpy(t->proof, bytes + NAMED, sizeof(t->proof));
	return 0;
}
