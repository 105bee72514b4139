/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/link_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

int ob__link_key_make(struct ob__link_key *key, const char *role, const char *token)
{
	if (strlen(role) >= sizeof(key->role)) {
		return -EINVAL;
	}
	memset(key, 0, sizeof(*key));
	snprintf(key->role, sizeof(key->role), "%s", role);
	int rc = ob__hello_key(token, key->key);
	return rc < 0 ? rc : ob__hello_psk(token, key->psk, key->psk_id);
}

void ob__link_keys_free(struct ob__link_keys *keys)
{
	if (keys->list != NULL) {
		OPENSSL_cleanse(keys->list, keys->len * sizeof(*keys->list));
	}
	free(keys->list);
	*keys = (struct ob__link_keys){0};
}

static int add(struct ob__link_keys *keys, const char *role, const char *token)
{
	return token == NULL ? 0 : ob__link_key_make(&keys->list[keys->len++], role, token);
}

/* The key of this node's own role, the first of two, else that of membership. */
static const struct ob__link_key *find_dial(const struct ob__link_keys *keys, const char *own_role)
{
	const struct ob__link_key *member = NULL;
	for (size_t i = 0; i < keys->len; i++) {
		if (strcmp(keys->list[i].role, own_role) == 0) {
			return &keys->list[i];
		}
		if (keys->list[i].role[0] == '\0') {
			member = &keys->list[i];
		}
	}
	return member;
}

int ob__link_keys_set(struct ob__link_keys *keys, const struct ob__links_options *options,
                      const char *own_role)
{
	*keys = (struct ob__link_keys){0};
	keys->list = calloc(1 + 2 * options->roles_len, sizeof(*keys->list));
	if (keys->list == NULL) {
		return -ENOMEM;
	}
	int rc = add(keys, "", options->token);
	for (size_t i = 0; i < options->roles_len && rc == 0; i++) {
		const struct ob__role_token *t = &options->roles[i];
		rc = t->role[0] == '\0' ? -EINVAL : add(keys, t->role, t->token[0]);
		if (rc == 0) {
			rc = add(keys, t->role, t->token[1]);
		}
	}
	if (rc < 0) {
		keys->len = 0;
		ob__link_keys_free(keys);
		return rc;
	}
	keys->by_role = options->roles_len > 0;
	keys->dial = find_dial(keys, own_role);
	return 0;
}

bool ob__link_keys_has(const struct ob__link_keys *keys)
{
	return keys->len > 0;
}

const struct ob__link_key *ob__link_keys_for(const struct ob__link_keys *keys, const char *role,
                                             size_t i)
{
	const char *wanted = keys->by_role ? role : "";
	for (size_t at = 0; at < keys->len; at++) {
		if (strcmp(keys->list[at].role, wanted) == 0 && i-- == 0) {
			return &keys->list[at];
		}
	}
	return NULL;
}
