/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_obespoir.  Ciphers, as libcrypto has them; knows nothing of packets.
 *
 * What OpenSSL needs is made once per generation of the module and given another key with each
 * message: no message allocates anything.  Of a connection nothing is kept here but the key that
 * was used last.  All functions return 0, or a negative number and leave nothing in OpenSSL's
 * queue of errors, which the host's TLS reads.
 */

#ifndef OBESPOIR_CRYPT_H
#define OBESPOIR_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#define OBESPOIR_BLOCK 16u
#define OBESPOIR_KEY   32u /* of a seal, a curve, a hash */
#define OBESPOIR_TAG   16u

#define OBESPOIR_KEY_SIZES 3u /* of AES: 16, 24 and 32 bytes */

struct obespoir_crypt {
	EVP_CIPHER_CTX *blocks[OBESPOIR_KEY_SIZES];
	EVP_CIPHER_CTX *seal;
	EVP_KDF_CTX *hkdf;
};

/* Also undoes what a failed one has done. */
void obespoir_crypt_free(struct obespoir_crypt *c);
int obespoir_crypt_make(struct obespoir_crypt *c);

bool obespoir_key_size_ok(size_t len);

/* AES, each block for itself, in place.  `len` is a multiple of OBESPOIR_BLOCK. */
int obespoir_blocks(const struct obespoir_crypt *c, const uint8_t *key, size_t key_len,
                    bool encrypt, uint8_t *data, size_t len);

/* AES-256-GCM, in place; `tag` has OBESPOIR_TAG bytes.  The number of the message is its nonce,
 * the first bytes of it, `head`, are authenticated only. */
struct obespoir_seal {
	const uint8_t *key;
	uint64_t number;
	const uint8_t *head;
	size_t head_len;
};

int obespoir_seal(const struct obespoir_crypt *c, const struct obespoir_seal *s, uint8_t *data,
                  size_t len, uint8_t *tag);
/* Negative: it is not what was sealed; data holds nothing of use. */
int obespoir_unseal(const struct obespoir_crypt *c, const struct obespoir_seal *s, uint8_t *data,
                    size_t len, const uint8_t *tag);

/* X25519: the public key of `own`, and the secret shared with `other`.  Negative: that is one of
 * the keys with which all secrets are zero. */
int obespoir_exchange(const uint8_t own[OBESPOIR_KEY], const uint8_t other[OBESPOIR_KEY],
                      uint8_t public_key[OBESPOIR_KEY], uint8_t secret[OBESPOIR_KEY]);
int obespoir_random_key(uint8_t key[OBESPOIR_KEY]);

/* HKDF-SHA256. */
int obespoir_hkdf(const struct obespoir_crypt *c, const uint8_t secret[OBESPOIR_KEY],
                  const uint8_t salt[OBESPOIR_KEY], const void *info, size_t info_len, uint8_t *out,
                  size_t len);

int obespoir_hmac(const void *key, size_t key_len, const void *data, size_t len,
                  uint8_t out[OBESPOIR_KEY]);
int obespoir_sha256(const void *data, size_t len, uint8_t out[OBESPOIR_KEY]);

void obespoir_wipe(void *data, size_t len);

#endif
