/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "crypt.h"

#include <limits.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define NONCE 12u

static const char *const block_ciphers[OBESPOIR_KEY_SIZES] = {"AES-128-ECB", "AES-192-ECB",
                                                              "AES-256-ECB"};

static int result(int ok)
{
	if (ok > 0) {
		return 0;
	}
	ERR_clear_error();
	return -1;
}

/* ---- what is made once ---- */

static EVP_CIPHER_CTX *make_cipher(const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *ctx = cipher != NULL ? EVP_CIPHER_CTX_new() : NULL;

	if (ctx != NULL && (EVP_EncryptInit_ex2(ctx, cipher, NULL, NULL, NULL) <= 0 ||
	                    EVP_CIPHER_CTX_set_padding(ctx, 0) <= 0)) {
		EVP_CIPHER_CTX_free(ctx);
		ctx = NULL;
	}
	EVP_CIPHER_free(cipher);
	return ctx;
}

static EVP_KDF_CTX *make_hkdf(void)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;

	EVP_KDF_free(kdf);
	return ctx;
}

int obespoir_crypt_make(struct obespoir_crypt *c)
{
	bool ok = true;

	for (size_t i = 0; i < OBESPOIR_KEY_SIZES; i++) {
		c->blocks[i] = make_cipher(block_ciphers[i]);
		ok = ok && c->blocks[i] != NULL;
	}
	c->seal = make_cipher("AES-256-GCM");
	c->hkdf = make_hkdf();
	ok = ok && c->seal != NULL && c->hkdf != NULL;
	if (!ok) {
		obespoir_crypt_free(c);
	}
	return result(ok);
}

void obespoir_crypt_free(struct obespoir_crypt *c)
{
	for (size_t i = 0; i < OBESPOIR_KEY_SIZES; i++) {
		EVP_CIPHER_CTX_free(c->blocks[i]);
	}
	EVP_CIPHER_CTX_free(c->seal);
	EVP_KDF_CTX_free(c->hkdf);
	*c = (struct obespoir_crypt){.seal = NULL};
}

/* ---- blocks ---- */

bool obespoir_key_size_ok(size_t len)
{
	return len == 16 || len == 24 || len == 32;
}

int obespoir_blocks(const struct obespoir_crypt *c, const uint8_t *key, size_t key_len,
                    bool encrypt, uint8_t *data, size_t len)
{
	int n;

	if (!obespoir_key_size_ok(key_len) || len % OBESPOIR_BLOCK != 0 || len > INT_MAX) {
		return -1;
	}
	EVP_CIPHER_CTX *ctx = c->blocks[key_len / 8 - 2];
	return result(EVP_CipherInit_ex2(ctx, NULL, key, NULL, encrypt, NULL) > 0 &&
	              EVP_CipherUpdate(ctx, data, &n, data, (int)len) > 0 && (size_t)n == len);
}

/* ---- seals ---- */

/* Four zero bytes, then the number, the most significant byte first. */
static void put_nonce(uint8_t nonce[NONCE], uint64_t number)
{
	memset(nonce, 0, NONCE);
	for (unsigned i = 0; i < 8; i++) {
		nonce[NONCE - 1 - i] = (uint8_t)(number >> 8 * i);
	}
}

static bool begin_seal(EVP_CIPHER_CTX *ctx, const struct obespoir_seal *s, int encrypt)
{
	uint8_t nonce[NONCE];
	int n;

	put_nonce(nonce, s->number);
	return EVP_CipherInit_ex2(ctx, NULL, s->key, nonce, encrypt, NULL) > 0 &&
	       EVP_CipherUpdate(ctx, NULL, &n, s->head, (int)s->head_len) > 0;
}

int obespoir_seal(const struct obespoir_crypt *c, const struct obespoir_seal *s, uint8_t *data,
                  size_t len, uint8_t *tag)
{
	EVP_CIPHER_CTX *ctx = c->seal;
	int n;

	if (len > INT_MAX) {
		return -1;
	}
	return result(begin_seal(ctx, s, 1) &&
	              EVP_CipherUpdate(ctx, data, &n, data, (int)len) > 0 &&
	              EVP_CipherFinal_ex(ctx, data + len, &n) > 0 &&
	              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, OBESPOIR_TAG, tag) > 0);
}

int obespoir_unseal(const struct obespoir_crypt *c, const struct obespoir_seal *s, uint8_t *data,
                    size_t len, const uint8_t *tag)
{
	EVP_CIPHER_CTX *ctx = c->seal;
	uint8_t expected[OBESPOIR_TAG];
	int n;

	if (len > INT_MAX) {
		return -1;
	}
	memcpy(expected, tag, sizeof(expected)); /* OpenSSL's parameter is not const */
	return result(begin_seal(ctx, s, 0) &&
	              EVP_CipherUpdate(ctx, data, &n, data, (int)len) > 0 &&
	              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, OBESPOIR_TAG, expected) > 0 &&
	              EVP_CipherFinal_ex(ctx, data + len, &n) > 0);
}

/* ---- the curve ---- */

static bool derive(EVP_PKEY *own, EVP_PKEY *other, uint8_t secret[OBESPOIR_KEY])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
	size_t len = OBESPOIR_KEY;
	bool ok = ctx != NULL && EVP_PKEY_derive_init(ctx) > 0 &&
	          EVP_PKEY_derive_set_peer(ctx, other) > 0 &&
	          EVP_PKEY_derive(ctx, secret, &len) > 0 && len == OBESPOIR_KEY;

	EVP_PKEY_CTX_free(ctx);
	return ok;
}

int obespoir_exchange(const uint8_t own[OBESPOIR_KEY], const uint8_t other[OBESPOIR_KEY],
                      uint8_t public_key[OBESPOIR_KEY], uint8_t secret[OBESPOIR_KEY])
{
	static const uint8_t zeros[OBESPOIR_KEY];
	EVP_PKEY *mine = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, own, OBESPOIR_KEY);
	EVP_PKEY *theirs =
		EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, other, OBESPOIR_KEY);
	size_t len = OBESPOIR_KEY;
	bool ok = mine != NULL && theirs != NULL &&
	          EVP_PKEY_get_raw_public_key(mine, public_key, &len) > 0 && len == OBESPOIR_KEY &&
	          derive(mine, theirs, secret) && CRYPTO_memcmp(secret, zeros, len) != 0;

	EVP_PKEY_free(theirs);
	EVP_PKEY_free(mine);
	return result(ok);
}

int obespoir_random_key(uint8_t key[OBESPOIR_KEY])
{
	return result(RAND_priv_bytes(key, OBESPOIR_KEY));
}

/* ---- hashes ---- */

int obespoir_hkdf(const struct obespoir_crypt *c, const uint8_t secret[OBESPOIR_KEY],
                  const uint8_t salt[OBESPOIR_KEY], const void *info, size_t info_len, uint8_t *out,
                  size_t len)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret,
	                                          OBESPOIR_KEY),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt,
	                                          OBESPOIR_KEY),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info,
	                                          info_len),
		OSSL_PARAM_construct_end(),
	};
	int ok = EVP_KDF_derive(c->hkdf, out, len, params);

	EVP_KDF_CTX_reset(c->hkdf); /* it forgets the secret */
	return result(ok);
}

int obespoir_hmac(const void *key, size_t key_len, const void *data, size_t len,
                  uint8_t out[OBESPOIR_KEY])
{
	unsigned out_len = OBESPOIR_KEY;

	return result(HMAC(EVP_sha256(), key, (int)key_len, data, len, out, &out_len) != NULL);
}

int obespoir_sha256(const void *data, size_t len, uint8_t out[OBESPOIR_KEY])
{
	return result(EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL));
}

void obespoir_wipe(void *data, size_t len)
{
	OPENSSL_cleanse(data, len);
}
