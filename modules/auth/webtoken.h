/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to modules/auth.  JSON Web Tokens (RFC 7519), by libjwt.
 *
 * A key is for one algorithm: what a token says of itself chooses among the keys that are there,
 * never what a key is used for.  So there is no "none", and no public key is taken for a secret.
 * Without libjwt (configure --without-jwt) there is webtoken_built() to say so.
 */

#ifndef AUTH_WEBTOKEN_H
#define AUTH_WEBTOKEN_H

#include <obhost/obhost.h>

#include "token.h"

#define WEBTOKEN_KEYS  16u
#define WEBTOKEN_ALGS  9u
#define WEBTOKEN_NAMES 256u /* of issuer, audience, the user's claim, a key's id */

struct webtoken_key {
	const char *alg; /* of webtoken_alg() */
	char *id;        /* or NULL: any */
	char *data;      /* a secret, or a public key's PEM; terminated */
	size_t len;
};

struct webtoken_rules {
	struct webtoken_key keys[WEBTOKEN_KEYS];
	size_t key_count;
	char *issuer;   /* or NULL: any */
	char *audience; /* or NULL: a token for somebody is for somebody else */
	char *user;     /* claim that names the user */
};

/* Is there any of it? */
bool webtoken_built(void);

/* The algorithm of that name, or NULL: HS256 to HS512, RS256 to RS512, ES256 to ES512. */
const char *webtoken_alg(const char *name);

/* Can this be a key for that algorithm?  NULL, or a sentence why not. */
const char *webtoken_key_problem(const char *alg, const char *data, size_t len);

/* Checks a token at `now` (s since 1970).  TOKEN_GOOD: *claims is a new reference to all it says,
 * *user borrowed from it, *expiry its end. */
enum verdict webtoken_check(const struct webtoken_rules *rules, const char *text, int64_t now,
                            int64_t skew, json_t **claims, const char **user, int64_t *expiry);

#endif
