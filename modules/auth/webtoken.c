/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "webtoken.h"

#include <stdlib.h>
#include <string.h>

#ifdef OB_WITH_JWT

#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#define HEADER_MAX 1024 /* bytes of a token's header, decoded */
#define RSA_BITS   2048

static const struct {
	const char *name;
	jwt_alg_t number;
	int type;   /* of the public key; 0: it is a secret */
	int length; /* bits of the key: at least for RSA, exactly for EC; bytes of a secret, at
	               least */
} algs[WEBTOKEN_ALGS] = {
	{"HS256", JWT_ALG_HS256, 0, 32},
	{"HS384", JWT_ALG_HS384, 0, 48},
	{"HS512", JWT_ALG_HS512, 0, 64},
	{"RS256", JWT_ALG_RS256, EVP_PKEY_RSA, RSA_BITS},
	{"RS384", JWT_ALG_RS384, EVP_PKEY_RSA, RSA_BITS},
	{"RS512", JWT_ALG_RS512, EVP_PKEY_RSA, RSA_BITS},
	{"ES256", JWT_ALG_ES256, EVP_PKEY_EC, 256},
	{"ES384", JWT_ALG_ES384, EVP_PKEY_EC, 384},
	{"ES512", JWT_ALG_ES512, EVP_PKEY_EC, 521},
};

bool webtoken_built(void)
{
	return true;
}

const char *webtoken_alg(const char *name)
{
	for (size_t i = 0; name && i < WEBTOKEN_ALGS; i++) {
		if (strcmp(algs[i].name, name) == 0) {
			return algs[i].name;
		}
	}
	return NULL;
}

static size_t index_of(const char *alg)
{
	size_t i = 0;

	while (i < WEBTOKEN_ALGS - 1 && strcmp(algs[i].name, alg) != 0) {
		i++;
	}
	return i;
}

static EVP_PKEY *read_public_key(const char *data, size_t len)
{
	BIO *bio = BIO_new_mem_buf(data, (int)len);
	EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return key;
}

const char *webtoken_key_problem(const char *alg, const char *data, size_t len)
{
	size_t i = index_of(alg);

	if (algs[i].type == 0) {
		if (strstr(data, "-----BEGIN ")) {
			return "is a PEM file, and no secret for an algorithm that needs one";
		}
		return len >= (size_t)algs[i].length
		               ? NULL
		               : "is shorter than the algorithm's hash (32, 48, 64 bytes)";
	}
	EVP_PKEY *key = read_public_key(data, len);
	if (!key) {
		return "is no public key (PEM, BEGIN PUBLIC KEY)";
	}
	int type = EVP_PKEY_base_id(key);
	int bits = EVP_PKEY_bits(key);
	EVP_PKEY_free(key);
	if (type != algs[i].type) {
		return "is a public key of another kind than the algorithm's";
	}
	if (type == EVP_PKEY_RSA ? bits < algs[i].length : bits != algs[i].length) {
		return "has not the length that the algorithm needs";
	}
	return NULL;
}

/* ---------------------------------------------------------------- what a token says of itself */

/* Its header, a new reference, or NULL. */
static json_t *read_header(const char *text)
{
	uint8_t bytes[HEADER_MAX];
	size_t len = strcspn(text, ".");
	const char *payload = text[len] ? text + len + 1 : NULL;
	const char *signature = payload ? strchr(payload, '.') : NULL;
	long n = token_base64url(text, len, bytes, sizeof(bytes));

	if (n < 0 || !signature || signature == payload || strchr(signature + 1, '.')) {
		return NULL;
	}
	json_t *header = json_loadb((const char *)bytes, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(header) || json_object_get(header, "crit")) {
		json_decref(header); /* "crit": there is nothing that would be understood */
		return NULL;
	}
	return header;
}

/* The claims, if the key says that they are as they were; a new reference, or NULL. */
static json_t *open_with(const struct webtoken_key *key, const char *text)
{
	jwt_t *jwt = NULL;
	json_t *claims = NULL;

	if (jwt_decode(&jwt, text, (const unsigned char *)key->data, (int)key->len) == 0) {
		/* What libjwt has read must be what was chosen by. */
		char *json = jwt_get_alg(jwt) == algs[index_of(key->alg)].number
		                     ? jwt_get_grants_json(jwt, NULL)
		                     : NULL;
		claims = json ? json_loads(json, 0, NULL) : NULL;
		free(json);
		jwt_free(jwt);
	}
	ERR_clear_error();
	return claims;
}

static enum verdict open_token(const struct webtoken_rules *rules, const char *text,
                               json_t **claims)
{
	json_t *header = read_header(text);

	if (!header) {
		return TOKEN_MALFORMED;
	}
	const char *alg = webtoken_alg(json_string_value(json_object_get(header, "alg")));
	const char *id = json_string_value(json_object_get(header, "kid"));
	bool any = false;

	for (size_t i = 0; alg && !*claims && i < rules->key_count; i++) {
		const struct webtoken_key *key = &rules->keys[i];

		if (key->alg != alg) {
			continue;
		}
		any = true;
		if (!key->id || !id || strcmp(key->id, id) == 0) {
			*claims = open_with(key, text);
		}
	}
	json_decref(header);
	return *claims ? TOKEN_GOOD : any ? TOKEN_SIGNATURE : TOKEN_ALGORITHM;
}

/* ---------------------------------------------------------------- what it claims ----------- */

/* A time, in s; false: it is none.  One that is not there is `otherwise`. */
static bool read_time(const json_t *claims, const char *name, int64_t otherwise, int64_t *out)
{
	const json_t *value = json_object_get(claims, name);
	double number = json_number_value(value);

	if (!value) {
		*out = otherwise;
		return true;
	}
	if (!json_is_number(value) || !(number >= 0 && number < 1e12)) {
		return false;
	}
	*out = (int64_t)number;
	return true;
}

static enum verdict check_times(const json_t *claims, int64_t now, int64_t skew, int64_t *expiry)
{
	int64_t from;
	int64_t made;

	if (!json_object_get(claims, "exp") || !read_time(claims, "exp", 0, expiry) ||
	    !read_time(claims, "nbf", 0, &from) || !read_time(claims, "iat", 0, &made)) {
		return TOKEN_CLAIM;
	}
	if (!token_in_time(*expiry, now, skew)) {
		return TOKEN_EXPIRED;
	}
	return from > now + skew || made > now + skew ? TOKEN_NOT_YET : TOKEN_GOOD;
}

static bool is_text(const json_t *value, const char *text)
{
	return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* "aud" is a text or a list of them; who is not meant must not take it. */
static bool is_for(const json_t *aud, const char *audience)
{
	if (!audience) {
		return aud == NULL;
	}
	for (size_t i = 0; i < json_array_size(aud); i++) {
		if (is_text(json_array_get(aud, i), audience)) {
			return true;
		}
	}
	return is_text(aud, audience);
}

static enum verdict check_claims(const struct webtoken_rules *rules, const json_t *claims,
                                 int64_t now, int64_t skew, const char **user, int64_t *expiry)
{
	enum verdict verdict = check_times(claims, now, skew, expiry);

	if (verdict != TOKEN_GOOD) {
		return verdict;
	}
	if (rules->issuer && !is_text(json_object_get(claims, "iss"), rules->issuer)) {
		return TOKEN_ISSUER;
	}
	if (!is_for(json_object_get(claims, "aud"), rules->audience)) {
		return TOKEN_AUDIENCE;
	}
	const json_t *value = json_object_get(claims, rules->user);
	*user = json_string_value(value);
	return *user && token_user_ok(*user, json_string_length(value)) ? TOKEN_GOOD : TOKEN_CLAIM;
}

enum verdict webtoken_check(const struct webtoken_rules *rules, const char *text, int64_t now,
                            int64_t skew, json_t **claims, const char **user, int64_t *expiry)
{
	*claims = NULL;
	enum verdict verdict = open_token(rules, text, claims);

	if (verdict == TOKEN_GOOD) {
		verdict = json_is_object(*claims)
		                  ? check_claims(rules, *claims, now, skew, user, expiry)
		                  : TOKEN_MALFORMED;
	}
	if (verdict != TOKEN_GOOD) {
		json_decref(*claims);
		*claims = NULL;
	}
	return verdict;
}

#else

bool webtoken_built(void)
{
	return false;
}

const char *webtoken_alg(const char *name)
{
	(void)name;
	return NULL;
}

const char *webtoken_key_problem(const char *alg, const char *data, size_t len)
{
	(void)alg;
	(void)data;
	(void)len;
	return "can't be used: this build has no JWT";
}

enum verdict webtoken_check(const struct webtoken_rules *rules, const char *text, int64_t now,
                            int64_t skew, json_t **claims, const char **user, int64_t *expiry)
{
	(void)rules;
	(void)text;
	(void)now;
	(void)skew;
	(void)user;
	(void)expiry;
	*claims = NULL;
	return TOKEN_ALGORITHM;
}

#endif
