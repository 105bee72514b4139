/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * What is sent to a user carries a tag that only its sender can make: an HMAC over all of it, the
 * session it goes to and the time, with a key that never leaves this process.  A proxy that has not
 * that user gives it back with its tag, and only what was sent from here is sent again: nobody can
 * have another node push for him by giving back what it has never sent.
 */

#include "host/user/users_priv.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "host/node.h"
#include "lib/le.h"

#define TO_LEN 16u /* of whose session it goes to */

int ob__user_tags_init(struct ob__users *us)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {OSSL_PARAM_utf8_string("digest", digest, sizeof(digest) - 1),
	                       OSSL_PARAM_END};
	uint8_t key[32];
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	us->tags = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);
	bool ok = us->tags != NULL && RAND_bytes(key, sizeof(key)) == 1 &&
	          EVP_MAC_init(us->tags, key, sizeof(key), params) == 1;
	OPENSSL_cleanse(key, sizeof(key));
	return ok ? 0 : OB_E_NOMEM;
}

void ob__user_tags_free(struct ob__users *us)
{
	EVP_MAC_CTX_free(us->tags);
	us->tags = NULL;
}

void ob__user_digest(struct ob__user_digest *d, const void *data, size_t len)
{
	_Static_assert(sizeof(d->bytes) == SHA256_DIGEST_LENGTH, "of SHA-256");
	SHA256(len > 0 ? data : "", len, d->bytes);
}

/* 0 when out of memory. */
static uint64_t make_tag(const struct ob__users *us, const struct ob__who *to,
                         const struct ob__send_msg *m, const struct ob__user_digest *d)
{
	struct ob__send_msg untagged = *m;
	uint8_t head[TO_LEN + OB__SEND_HEAD_MAX];
	uint8_t full[EVP_MAX_MD_SIZE];
	uint64_t tag;
	size_t len;

	untagged.tag = 0;
	ob__put64(head, to->node);
	ob__put64(head + 8, to->seq);
	len = TO_LEN + ob__send_put_head(head + TO_LEN, &untagged);
	if (EVP_MAC_init(us->tags, NULL, 0, NULL) != 1 ||
	    EVP_MAC_update(us->tags, d->bytes, sizeof(d->bytes)) != 1 ||
	    EVP_MAC_update(us->tags, head, len) != 1 ||
	    EVP_MAC_final(us->tags, full, &len, sizeof(full)) != 1 || len < sizeof(tag)) {
		return 0;
	}
	memcpy(&tag, full, sizeof(tag));
	return tag;
}

int ob__user_tag_digest(const struct ob__users *us, const struct ob__who *to,
                        struct ob__send_msg *m, const struct ob__user_digest *d)
{
	m->tag = make_tag(us, to, m, d);
	return m->tag != 0 ? 0 : OB_E_NOMEM;
}

int ob__user_tag(const struct ob__users *us, const struct ob__who *to, struct ob__send_msg *m)
{
	struct ob__user_digest d;

	ob__user_digest(&d, m->data, m->len);
	m->at = (uint32_t)ob__loop_now(us->node->loop);
	return ob__user_tag_digest(us, to, m, &d);
}

bool ob__user_tag_ok(const struct ob__users *us, const struct ob__who *to,
                     const struct ob__send_msg *m)
{
	uint32_t age = (uint32_t)ob__loop_now(us->node->loop) - m->at;
	struct ob__user_digest d;

	ob__user_digest(&d, m->data, m->len);
	uint64_t tag = make_tag(us, to, m, &d);

	/* It may have waited on either way for as long as a request does. */
	return tag != 0 && CRYPTO_memcmp(&tag, &m->tag, sizeof(tag)) == 0 &&
	       age <= 2 * us->node->conf->call_timeout_ms;
}
