/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to modules/auth.  What the module is configured with, read and checked in one go.  Who
 * reads settings frees them, also when they were refused.
 */

#ifndef AUTH_SETTINGS_H
#define AUTH_SETTINGS_H

#include <obhost/obhost.h>

#include "webtoken.h"

#define OPEN_MAX     256u
#define HMAC_KEYS    2u
#define CLAIMS_MAX   14u /* a session has 16 attributes, one of them is the module's own */
#define AUTH_ATTR    "auth"
#define SECRET_MIN   32u
#define KEY_FILE_MAX 16384u

/* Messages that are open to everybody: a range of ids, or a name. */
struct open_ids {
	uint32_t lo;
	uint32_t hi;
	char *name; /* NULL: the range */
};

struct secret {
	char *data;
	size_t len;
};

/* A claim that becomes an attribute of the session. */
struct claim {
	char *name;
	char *attr;
};

struct settings {
	uint32_t login_id; /* or */
	char *login_name;
	char *field; /* of the login's body, that has the token */
	bool bind;
	uint32_t deadline_ms; /* 0: none */
	uint32_t attempts;    /* 0: any number */
	int64_t skew;         /* s */
	size_t max_token;
	struct open_ids open[OPEN_MAX];
	size_t open_count;
	struct secret hmac[HMAC_KEYS];
	size_t hmac_count;
	struct webtoken_rules jwt;
	struct claim claims[CLAIMS_MAX];
	size_t claim_count;
};

/* 0, or OB_E_INVAL with a sentence in err->text. */
int settings_read(struct settings *s, const json_t *conf, ob_err *err);

/* Wipes its secrets, too. */
void settings_free(struct settings *s);

#endif
