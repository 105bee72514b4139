/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/hello.h"

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "lib/le.h"
#include "mesh/proto.h"

#define LABEL "obhost-link-1"
/* id, incarnation, versions, features, nonce, and the lengths of name and role */
#define FIXED          (8u + 8u + 2u + 4u + OB__HELLO_NONCE + 2u)
#define EXPORTER_MAX   64u
#define TRANSCRIPT_MAX 512u

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

static uint8_t *put32(uint8_t *at, uint32_t v)
{
	ob__put32(at, v);
	return at + sizeof(v);
}

static uint8_t *put64(uint8_t *at, uint64_t v)
{
	ob__put64(at, v);
	return at + sizeof(v);
}

static uint8_t *put_word(uint8_t *at, const char *word, size_t len)
{
	*at = (uint8_t)len;
	return put(at + 1, word, len);
}

size_t ob__hello_put(const struct ob__hello *h, uint8_t *out, size_t cap)
{
	size_t name_len = strnlen(h->name, OB__HELLO_NAME - 1);
	size_t role_len = strnlen(h->role, OB__HELLO_NAME - 1);
	if (cap < FIXED + name_len + role_len) {
		return 0;
	}
	uint8_t *at = put64(out, h->id);
	at = put64(at, h->incarnation);
	*at++ = h->version_min;
	*at++ = h->version_max;
	at = put32(at, h->features);
	at = put(at, h->nonce, OB__HELLO_NONCE);
	at = put_word(at, h->name, name_len);
	at = put_word(at, h->role, role_len);
	return (size_t)(at - out);
}

/* Reads one counted word that ends at or before `end`; where it ends, or NULL. */
static const uint8_t *get_word(char word[OB__HELLO_NAME], const uint8_t *at, const uint8_t *end)
{
	if (at == end || *at == 0 || *at >= OB__HELLO_NAME || (size_t)(end - at) < 1u + *at) {
		return NULL;
	}
	size_t len = *at++;
	for (size_t i = 0; i < len; i++) {
		if (at[i] <= ' ' || at[i] > '~') {
			return NULL;
		}
	}
	memcpy(word, at, len);
	word[len] = '\0';
	return at + len;
}

int ob__hello_get(struct ob__hello *h, const uint8_t *data, size_t len)
{
	if (len < FIXED) {
		return -EPROTO;
	}
	const uint8_t *end = data + len;
	memset(h, 0, sizeof(*h));
	h->id = ob__get64(data);
	h->incarnation = ob__get64(data + 8);
	h->version_min = data[16];
	h->version_max = data[17];
	h->features = ob__get32(data + 18);
	memcpy(h->nonce, data + 22, OB__HELLO_NONCE);
	const uint8_t *at = get_word(h->name, data + 22 + OB__HELLO_NONCE, end);
	if (at == NULL) {
		return -EPROTO;
	}
	at = get_word(h->role, at, end);
	if (at != end || h->version_min == 0 || h->version_min > h->version_max ||
	    h->id != ob__node_id(h->name)) {
		return -EPROTO;
	}
	return 0;
}

int ob__hello_nonce(uint8_t nonce[OB__HELLO_NONCE])
{
	return RAND_bytes(nonce, OB__HELLO_NONCE) == 1 ? 0 : -EIO;
}

uint8_t ob__hello_version(const struct ob__hello *a, const struct ob__hello *b)
{
	uint8_t top = a->version_max < b->version_max ? a->version_max : b->version_max;
	return top >= a->version_min && top >= b->version_min ? top : 0;
}

static int derive(const char *token, const char *info, uint8_t *key, size_t key_len)
{
	size_t len = strlen(token);
	if (len < OB__HELLO_TOKEN_MIN) {
		return -EINVAL;
	}
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
	EVP_KDF_free(kdf);
	if (ctx == NULL) {
		return -ENOMEM;
	}
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)token, len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, strlen(info)),
		OSSL_PARAM_construct_end(),
	};
	int ok = EVP_KDF_derive(ctx, key, key_len, params);
	EVP_KDF_CTX_free(ctx);
	return ok == 1 ? 0 : -EIO;
}

int ob__hello_key(const char *token, uint8_t key[32])
{
	return derive(token, LABEL, key, 32);
}

int ob__hello_psk(const char *token, uint8_t psk[OB__HELLO_PSK], uint8_t id[OB__HELLO_PSK_ID])
{
	int rc = derive(token, "obhost-link-psk-1", psk, OB__HELLO_PSK);
	return rc < 0 ? rc : derive(token, "obhost-link-psk-id-1", id, OB__HELLO_PSK_ID);
}

static uint8_t *put_field(uint8_t *at, const void *data, size_t len)
{
	at[0] = (uint8_t)len;
	at[1] = (uint8_t)(len >> 8);
	return len == 0 ? at + 2 : put(at + 2, data, len);
}

static uint8_t *put_who(uint8_t *at, const struct ob__hello *h)
{
	uint8_t number[8];
	put64(number, h->id);
	at = put_field(at, number, sizeof(number));
	put64(number, h->incarnation);
	at = put_field(at, number, sizeof(number));
	return put_field(at, h->role, strnlen(h->role, OB__HELLO_NAME - 1));
}

static uint8_t *put_versions(uint8_t *at, const struct ob__hello *h)
{
	const uint8_t range[2] = {h->version_min, h->version_max};
	return put_field(at, range, sizeof(range));
}

static uint8_t *put_features(uint8_t *at, const struct ob__hello *h)
{
	uint8_t word[4];
	put32(word, h->features);
	return put_field(at, word, sizeof(word));
}

int ob__hello_mac(const uint8_t key[32], char side, const struct ob__hello *dialer,
                  const struct ob__hello *acceptor, const uint8_t *exporter, size_t exporter_len,
                  uint8_t mac[OB__HELLO_MAC])
{
	if (exporter_len > EXPORTER_MAX) {
		return -EINVAL;
	}
	uint8_t said[TRANSCRIPT_MAX];
	said[0] = (uint8_t)side;
	uint8_t *at = put_field(said + 1, LABEL, sizeof(LABEL) - 1);
	at = put_who(at, dialer);
	at = put_who(at, acceptor);
	at = put_field(at, dialer->nonce, OB__HELLO_NONCE);
	at = put_field(at, acceptor->nonce, OB__HELLO_NONCE);
	at = put_versions(at, dialer);
	at = put_versions(at, acceptor);
	at = put_features(at, dialer);
	at = put_features(at, acceptor);
	at = put_field(at, exporter, exporter_len);
	unsigned len = OB__HELLO_MAC;
	return HMAC(EVP_sha256(), key, 32, said, (size_t)(at - said), mac, &len) != NULL ? 0 : -EIO;
}

bool ob__hello_mac_equal(const uint8_t a[OB__HELLO_MAC], const uint8_t b[OB__HELLO_MAC])
{
	return CRYPTO_memcmp(a, b, OB__HELLO_MAC) == 0;
}
