/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/hello.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/proto.h"
#include "tap.h"

#define TOKEN "helloworldiloveyou~1234567890123"

static void fill(struct ob__hello *h, const char *name, const char *role, uint64_t incarnation)
{
	memset(h, 0, sizeof(*h));
	h->id = ob__node_id(name);
	h->incarnation = incarnation;
	snprintf(h->name, sizeof(h->name), "%s", name);
	snprintf(h->role, sizeof(h->role), "%s", role);
	h->version_min = 1;
	h->version_max = 1;
}

/* The pair of the known answers below. */
static void fill_pair(struct ob__hello *dialer, struct ob__hello *acceptor)
{
	fill(dialer, "proxy_1", "proxy", UINT64_C(1732226400123));
	fill(acceptor, "route_1", "route", UINT64_C(1732226400456));
	for (unsigned i = 0; i < OB__HELLO_NONCE; i++) {
		dialer->nonce[i] = (uint8_t)i;
		acceptor->nonce[i] = (uint8_t)(255 - i);
	}
	dialer->version_max = 3;
	dialer->features = 0x01020304;
}

static void put_hex(char *out, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		snprintf(out + 2 * i, 3, "%02x", data[i]);
	}
}

/* ---------------------------------------------------------------- proofs */

static void test_key(void)
{
	uint8_t key[32];
	char hex[65];
	CU_ASSERT_EQUAL(ob__hello_key(TOKEN, key), 0);
	put_hex(hex, key, sizeof(key));
	/* Python: hmac(hmac(32 zeros, token), "obhost-link-1\x01") */
	CU_ASSERT_STRING_EQUAL(hex, "570e40ebfdb178ac75f1c65b185706531b9d6524ca997a652d5cf2cd03ef84"
	                            "ce");
	CU_ASSERT_EQUAL(ob__hello_key("fifteen letters", key), -EINVAL);
	CU_ASSERT_EQUAL(ob__hello_key("sixteen letters!", key), 0);
	CU_ASSERT_EQUAL(ob__hello_key("", key), -EINVAL);
}

/* Computed with Python's hmac and hashlib from the text in hello.h. */
static const struct {
	char side;
	size_t exporter_len; /* of the bytes 100, 101 ... */
	const char *mac;
} known[] = {
	{'D', 0, "390ca904dc26e5463fcdb2161df794b097a8b55175e7f1592bc6ee23e420c141"},
	{'A', 0, "1354677e37222e2e33144c8bf447ab9db2edb92d93def499522d9a352294c0df"},
	{'D', 32, "fb9a706a143504748e068cb780a29e524aa809af38e0b7ada2e2932b21fbe9ae"},
	{'A', 32, "01bcc409f5f687b5e86c23dee883cd8acaa8b3685aac3f5cab53d75e9b6589e4"},
};

static void test_known_answers(void)
{
	uint8_t key[32];
	uint8_t exporter[32];
	struct ob__hello dialer;
	struct ob__hello acceptor;
	fill_pair(&dialer, &acceptor);
	ob__hello_key(TOKEN, key);
	for (unsigned i = 0; i < sizeof(exporter); i++) {
		exporter[i] = (uint8_t)(100 + i);
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint8_t mac[OB__HELLO_MAC];
		char hex[65];
		int rc = ob__hello_mac(key, known[i].side, &dialer, &acceptor, exporter,
		                       known[i].exporter_len, mac);
		CU_ASSERT_EQUAL(rc, 0);
		put_hex(hex, mac, sizeof(mac));
		CU_ASSERT_STRING_EQUAL(hex, known[i].mac);
	}
	uint8_t mac[OB__HELLO_MAC];
	CU_ASSERT_EQUAL(ob__hello_mac(key, 'D', &dialer, &acceptor, exporter, 65, mac), -EINVAL);
}

/* Everything a proof must depend on. */
struct said {
	uint8_t key[32];
	char side;
	struct ob__hello dialer;
	struct ob__hello acceptor;
	uint8_t exporter[32];
	size_t exporter_len;
};

static void swap_sides(struct said *s)
{
	struct ob__hello h = s->dialer;
	s->dialer = s->acceptor;
	s->acceptor = h;
}

static void change(struct said *s, int what)
{
	struct ob__hello *h = what % 2 == 0 ? &s->dialer : &s->acceptor;
	switch (what / 2) {
	case 0:
		h->id ^= 1;
		break;
	case 1:
		h->incarnation++;
		break;
	case 2:
		h->role[0] ^= 1;
		break;
	case 3:
		h->nonce[31] ^= 0x80;
		break;
	case 4:
		h->version_min++;
		break;
	case 5:
		h->version_max++;
		break;
	case 6:
		h->features ^= 1u << 31;
		break;
	case 7: /* a letter moves from one field to the next */
		snprintf(s->dialer.role, sizeof(s->dialer.role), what % 2 == 0 ? "prox" : "proxyr");
		break;
	case 8:
		s->exporter[0] ^= 1;
		break;
	case 9:
		s->exporter_len--;
		break;
	case 10:
		s->key[0] ^= 1;
		break;
	case 11:
		s->side = 'A';
		break;
	case 12:
		swap_sides(s);
		break;
	default:
		break;
	}
}

static void mac_of(const struct said *s, uint8_t mac[OB__HELLO_MAC])
{
	int rc = ob__hello_mac(s->key, s->side, &s->dialer, &s->acceptor, s->exporter,
	                       s->exporter_len, mac);
	CU_ASSERT_EQUAL(rc, 0);
}

static void test_each_field_counts(void)
{
	struct said s = {.side = 'D', .exporter_len = 32};
	ob__hello_key(TOKEN, s.key);
	fill_pair(&s.dialer, &s.acceptor);
	uint8_t mac[OB__HELLO_MAC];
	uint8_t again[OB__HELLO_MAC];
	mac_of(&s, mac);
	mac_of(&s, again);
	CU_ASSERT_TRUE(ob__hello_mac_equal(mac, again));
	for (int what = 0; what < 26; what++) {
		struct said other = s;
		change(&other, what);
		mac_of(&other, again);
		CU_ASSERT_FALSE(ob__hello_mac_equal(mac, again));
	}
}

static void test_every_bit_compares(void)
{
	uint8_t a[OB__HELLO_MAC] = {0};
	for (unsigned bit = 0; bit < 8 * OB__HELLO_MAC; bit++) {
		uint8_t b[OB__HELLO_MAC] = {0};
		b[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CU_ASSERT_FALSE(ob__hello_mac_equal(a, b));
	}
	CU_ASSERT_TRUE(ob__hello_mac_equal(a, a));
}

static void test_nonces_differ(void)
{
	uint8_t a[OB__HELLO_NONCE] = {0};
	uint8_t b[OB__HELLO_NONCE] = {0};
	CU_ASSERT_EQUAL(ob__hello_nonce(a), 0);
	CU_ASSERT_EQUAL(ob__hello_nonce(b), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof(a)), 0);
}

/* ---------------------------------------------------------------- the payload */

static void test_round_trip(void)
{
	struct ob__hello h;
	struct ob__hello dialer;
	struct ob__hello back;
	uint8_t out[OB__HELLO_MAX];
	fill_pair(&dialer, &h);
	h = dialer;
	size_t len = ob__hello_put(&h, out, sizeof(out));
	CU_ASSERT_EQUAL(len, 56 + strlen("proxy_1") + strlen("proxy"));
	CU_ASSERT_EQUAL(ob__hello_get(&back, out, len), 0);
	CU_ASSERT_EQUAL(memcmp(&back, &h, sizeof(h)), 0);
	CU_ASSERT_EQUAL(ob__hello_put(&h, out, len), len);
	CU_ASSERT_EQUAL(ob__hello_put(&h, out, len - 1), 0);
	CU_ASSERT_EQUAL(ob__hello_put(&h, out, 0), 0);
}

static void test_longest(void)
{
	char name[OB__HELLO_NAME];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	struct ob__hello h;
	struct ob__hello back;
	uint8_t out[OB__HELLO_MAX];
	fill(&h, name, name, 1);
	size_t len = ob__hello_put(&h, out, sizeof(out));
	CU_ASSERT_TRUE(len > 0 && len + 64 <= OB__HELLO_MAX);
	CU_ASSERT_EQUAL(ob__hello_get(&back, out, len), 0);
	CU_ASSERT_STRING_EQUAL(back.role, name);
}

/* Each length but the right one is refused, from copies that end where they say. */
static void test_every_length(void)
{
	struct ob__hello h;
	struct ob__hello back;
	uint8_t out[OB__HELLO_MAX] = {0};
	fill(&h, "node", "role", 1);
	size_t right = ob__hello_put(&h, out, sizeof(out));
	for (size_t len = 0; len <= right + 8; len++) {
		uint8_t *copy = malloc(len + 1);
		memcpy(copy, out, len);
		CU_ASSERT_EQUAL(ob__hello_get(&back, copy, len), len == right ? 0 : -EPROTO);
		free(copy);
	}
}

/* One byte of the payload of node "node", role "role" changed. */
static const struct {
	size_t at;
	uint8_t byte;
	int rc;
} changed[] = {
	{0, 0x00, -EPROTO},  /* the id is not the name's */
	{8, 0x77, 0},        /* any incarnation */
	{16, 0, -EPROTO},    /* version 0 */
	{16, 2, -EPROTO},    /* from 2 to 1 */
	{17, 9, 0},          /* up to 9 */
	{17, 0, -EPROTO},    /* from 1 to 0 */
	{18, 0xff, 0},       /* any features */
	{54, 0, -EPROTO},    /* no name */
	{54, 3, -EPROTO},    /* a shorter one */
	{54, 64, -EPROTO},   /* an overlong one */
	{54, 255, -EPROTO},  /* a far too long one */
	{55, 'x', -EPROTO},  /* another name, same id */
	{59, 0, -EPROTO},    /* no role */
	{59, 3, -EPROTO},    /* a byte behind the role */
	{59, 5, -EPROTO},    /* the role beyond the end */
	{60, 'R', 0},        /* any role */
	{60, ' ', -EPROTO},  /* a space */
	{60, '\n', -EPROTO}, /* a control character */
	{60, '\0', -EPROTO}, /* a NUL */
	{60, 0x7f, -EPROTO}, /* DEL */
	{60, 0xc3, -EPROTO}, /* beyond ASCII */
	{60, '~', 0},        /* the last printable one */
	{60, '!', 0},        /* the first one */
};

static void test_changed_bytes(void)
{
	for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++) {
		struct ob__hello h;
		uint8_t out[OB__HELLO_MAX];
		fill(&h, "node", "role", 1);
		size_t len = ob__hello_put(&h, out, sizeof(out));
		out[changed[i].at] = changed[i].byte;
		CU_ASSERT_EQUAL(ob__hello_get(&h, out, len), changed[i].rc);
	}
}

static const struct {
	uint8_t a_min, a_max, b_min, b_max, version;
} versions[] = {
	{1, 1, 1, 1, 1}, /* the only one */
	{1, 3, 2, 5, 3}, /* the highest of both */
	{2, 5, 1, 3, 3}, /* the other way round */
	{1, 1, 2, 2, 0}, /* too old */
	{3, 4, 1, 2, 0}, /* too new */
	{1, 9, 4, 4, 4}, /* one within */
};

static void test_versions(void)
{
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct ob__hello a = {.version_min = versions[i].a_min,
		                      .version_max = versions[i].a_max};
		struct ob__hello b = {.version_min = versions[i].b_min,
		                      .version_max = versions[i].b_max};
		CU_ASSERT_EQUAL(ob__hello_version(&a, &b), versions[i].version);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("hello", NULL, NULL);
	CU_add_test(s, "round trip", test_round_trip);
	CU_add_test(s, "longest names", test_longest);
	CU_add_test(s, "every length", test_every_length);
	CU_add_test(s, "changed bytes", test_changed_bytes);
	CU_add_test(s, "versions", test_versions);
	CU_add_test(s, "nonces differ", test_nonces_differ);
	CU_add_test(s, "the key of a token", test_key);
	CU_add_test(s, "known proofs", test_known_answers);
	CU_add_test(s, "each field changes the proof", test_each_field_counts);
	CU_add_test(s, "every bit of a proof counts", test_every_bit_compares);
	return ob__tap_run();
}
