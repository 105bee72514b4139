/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "handshake.h"

#include <string.h>

#define LABEL_LEN (sizeof(label) - 1)

static const char label[] = "obhost-encode-2";

/* What HKDF makes of the secret, in this order. */
struct derived {
	uint8_t client[OBESPOIR_KEY];
	uint8_t server[OBESPOIR_KEY];
	uint8_t proof[OBESPOIR_KEY];
};

int obespoir_token_key(const char *token, uint8_t key[OBESPOIR_KEY])
{
	if (token == NULL) {
		memset(key, 0, OBESPOIR_KEY);
		return 0;
	}
	return obespoir_hmac(label, LABEL_LEN, token, strlen(token), key);
}

/* The hash of all that both have said, but for the proof. */
static int transcript(const uint8_t *hello, const uint8_t *answer, uint8_t hash[OBESPOIR_KEY])
{
	uint8_t said[LABEL_LEN + 2 * OBESPOIR_HELLO];

	memcpy(said, label, LABEL_LEN);
	memcpy(said + LABEL_LEN, hello, OBESPOIR_HELLO);
	memcpy(said + LABEL_LEN + OBESPOIR_HELLO, answer, OBESPOIR_HELLO);
	return obespoir_sha256(said, sizeof(said), hash);
}

static int make_keys(const struct obespoir_crypt *c, const uint8_t *secret,
                     const uint8_t *token_key, const uint8_t hash[OBESPOIR_KEY],
                     struct derived *derived)
{
	uint8_t info[LABEL_LEN + OBESPOIR_KEY];

	memcpy(info, label, LABEL_LEN);
	memcpy(info + LABEL_LEN, hash, OBESPOIR_KEY);
	return obespoir_hkdf(c, secret, token_key, info, sizeof(info), (uint8_t *)derived,
	                     sizeof(*derived));
}

int obespoir_shake_hands(const struct obespoir_crypt *c, const uint8_t token_key[OBESPOIR_KEY],
                         const uint8_t own[OBESPOIR_KEY], const uint8_t hello[OBESPOIR_HELLO],
                         uint8_t answer[OBESPOIR_ANSWER], struct obespoir_keys *keys)
{
	static const uint8_t head[] = {OBESPOIR_ANSWER, 0, 0, 0, OBESPOIR_VERSION};
	uint8_t secret[OBESPOIR_KEY];
	uint8_t hash[OBESPOIR_KEY];
	struct derived derived;

	if (obespoir_exchange(own, hello + OBESPOIR_HELLO_KEY, answer + OBESPOIR_HELLO_KEY,
	                      secret) != 0) {
		return OBESPOIR_WEAK;
	}
	memcpy(answer, head, sizeof(head));
	bool ok = transcript(hello, answer, hash) == 0 &&
	          make_keys(c, secret, token_key, hash, &derived) == 0 &&
	          obespoir_hmac(derived.proof, sizeof(derived.proof), hash, sizeof(hash),
	                        answer + OBESPOIR_HELLO) == 0;
	if (ok) {
		memcpy(keys->in, derived.client, sizeof(keys->in));
		memcpy(keys->out, derived.server, sizeof(keys->out));
	}
	obespoir_wipe(secret, sizeof(secret));
	obespoir_wipe(&derived, sizeof(derived));
	return ok ? 0 : OBESPOIR_FAILED;
}
