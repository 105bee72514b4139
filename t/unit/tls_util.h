/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Tests only.  Certificates made on the spot, in a directory that goes with the test. */

#ifndef OB__TLS_UTIL_H
#define OB__TLS_UTIL_H

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* One certificate and its key, in memory and as files. */
struct cert {
	EVP_PKEY *pkey;
	X509 *x509;
	char cert[128];
	char key[128];
};

static char cert_dir[64];

static inline void cert_dir_make(void)
{
	snprintf(cert_dir, sizeof(cert_dir), "/tmp/ob-cert-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(cert_dir));
}

static inline void cert_write(const struct cert *c)
{
	FILE *f = fopen(c->cert, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	PEM_write_X509(f, c->x509);
	fclose(f);
	f = fopen(c->key, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	PEM_write_PrivateKey(f, c->pkey, NULL, NULL, 0, NULL, NULL);
	fclose(f);
}

static inline void cert_extend(X509 *x, X509 *ca, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, ca, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

/* `ca` NULL: a CA.  `san` e.g. "URI:obhost:proxy/p1" or NULL.  Valid from an hour ago for `s`
 * seconds from now. */
static inline void cert_make(struct cert *c, const char *file, const struct cert *ca,
                             const char *san, long s)
{
	snprintf(c->cert, sizeof(c->cert), "%s/%s.crt", cert_dir, file);
	snprintf(c->key, sizeof(c->key), "%s/%s.key", cert_dir, file);
	c->pkey = EVP_EC_gen("P-256");
	c->x509 = X509_new();
	CU_ASSERT_FATAL(c->pkey != NULL && c->x509 != NULL);
	X509_set_version(c->x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c->x509), (long)(uintptr_t)c & 0x7fffffff);
	X509_gmtime_adj(X509_getm_notBefore(c->x509), -3600);
	X509_gmtime_adj(X509_getm_notAfter(c->x509), s);
	X509_set_pubkey(c->x509, c->pkey);
	X509_NAME *name = X509_get_subject_name(c->x509);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)file, -1, -1,
	                           0);
	X509 *issuer = ca != NULL ? ca->x509 : c->x509;
	X509_set_issuer_name(c->x509, X509_get_subject_name(issuer));
	cert_extend(c->x509, issuer, NID_basic_constraints,
	            ca != NULL ? "CA:FALSE" : "critical,CA:TRUE");
	if (san != NULL) {
		cert_extend(c->x509, issuer, NID_subject_alt_name, san);
	}
	CU_ASSERT_FATAL(X509_sign(c->x509, ca != NULL ? ca->pkey : c->pkey, EVP_sha256()) > 0);
	cert_write(c);
}

static inline void cert_free(struct cert *c)
{
	unlink(c->cert);
	unlink(c->key);
	X509_free(c->x509);
	EVP_PKEY_free(c->pkey);
	memset(c, 0, sizeof(*c));
}

static inline void cert_dir_remove(void)
{
	CU_ASSERT_EQUAL(rmdir(cert_dir), 0);
}

#endif
