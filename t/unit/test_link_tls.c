/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "link_rig.h"
#include "tls_util.h"

#define OTHER_TOKEN "another token of some length"
#define THIRD_TOKEN "a third token of some length"

static struct rig_node a; /* is dialled */
static struct rig_node b; /* dials */
static struct puppet p;

static struct cert ca;
static struct cert ca2;
static struct cert route_1;
static struct cert proxy_1;
static struct cert proxy_2;
static struct cert late;
static struct cert foreign;

static void begin(const struct ob__links_options *of_a, const struct ob__links_options *of_b)
{
	rig_begin();
	rig_start(&a, "route_1", "route", 1, 0, of_a);
	rig_start(&b, "proxy_1", "proxy", 1, 0, of_b);
}

static void end(void)
{
	rig_stop(&b);
	rig_stop(&a);
	rig_end();
}

/* Dials, waits for the counted reason at `n`, and finds nobody up. */
static void refused(const struct rig_node *n, const char *reason)
{
	uint64_t before = rig_closed(n, reason);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(n, reason) > before));
	if (rig_closed(n, reason) == before) {
		printf("# waited for %s; the dialer says: %s\n", reason, rig_remotes(&b).error);
	}
	CU_ASSERT_EQUAL(a.ups + b.ups, 0);
}

static bool up(void)
{
	return RIG_UNTIL(a.ups == 1 && b.ups == 1);
}

static void numbers_pass(void)
{
	static uint8_t payload[60000];
	for (int i = 0; i < 200; i++) {
		CU_ASSERT_EQUAL(rig_send(&b, "route_1", payload, (size_t)i * 300), 0);
		CU_ASSERT_EQUAL(rig_send(&a, "proxy_1", payload, (size_t)i), 0);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(a.frames == 200 && b.frames == 200));
	CU_ASSERT_TRUE(a.in_order && b.in_order);
}

static struct ob__links_options certs(const struct cert *c)
{
	return (struct ob__links_options){.security = OB__LINK_CERT,
	                                  .files = {c->cert, c->key, ca.cert}};
}

static const struct ob__links_options psk = {.security = OB__LINK_PSK};

/* ---------------------------------------------------------------- it works */

static void test_psk(void)
{
	begin(&psk, &psk);
	rig_dial(&b, a.port);
	CU_ASSERT_TRUE(up());
	CU_ASSERT_TRUE(ob__stream_is_secure(&rig_link(&a, "proxy_1")->stream));
	const struct ob__link *la = rig_link(&a, "proxy_1");
	const struct ob__link *lb = rig_link(&b, "route_1");
	CU_ASSERT_EQUAL(la->exporter_len, 32);
	CU_ASSERT_EQUAL(memcmp(la->exporter, lb->exporter, 32), 0);
	CU_ASSERT_EQUAL(la->psk_dialer, b.registry.self.id);
	numbers_pass();
	/* It comes back, and names the node it expects. */
	ob__peer_close(a.links, rig_peer(&a, "proxy_1"), "test");
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 2 && b.ups == 2));
	end();
}

static void test_certificates(void)
{
	struct ob__links_options of_a = certs(&route_1);
	struct ob__links_options of_b = certs(&proxy_1);
	begin(&of_a, &of_b);
	rig_dial(&b, a.port);
	CU_ASSERT_TRUE(up());
	numbers_pass();
	end();
}

/* No token at all: the certificate says it. */
static void test_certificates_alone(void)
{
	struct ob__links_options of_a = certs(&route_1);
	struct ob__links_options of_b = certs(&proxy_1);
	of_a.token = "";
	of_b.token = "";
	begin(&of_a, &of_b);
	rig_dial(&b, a.port);
	CU_ASSERT_TRUE(up());
	numbers_pass();
	end();
}

/* An entry of its own: the node's links are plain, this one is not. */
static void test_entry(void)
{
	struct ob__links_options of_a = certs(&route_1);
	begin(&of_a, NULL);
	struct ob__remote_options o = {
		.host = "127.0.0.1",
		.port = a.port,
		.security = OB__LINK_CERT,
		.files = {proxy_1.cert, proxy_1.key, ca.cert},
	};
	CU_ASSERT_EQUAL(ob__links_dial(b.links, &o), 0);
	CU_ASSERT_TRUE(up());
	ob__links_retain(b.links, &o, 1);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(b.downs, 0);
	o.security = OB__LINK_PLAIN;
	ob__links_retain(b.links, &o, 1); /* another security is another entry */
	CU_ASSERT_TRUE(RIG_UNTIL(b.downs == 1));
	o.security = OB__LINK_CERT;
	o.files.cert = "/nonexistent/x";
	CU_ASSERT_EQUAL(ob__links_dial(b.links, &o), -EINVAL);
	o.files.cert = NULL; /* and the node has none */
	CU_ASSERT_EQUAL(ob__links_dial(b.links, &o), -EINVAL);
	end();
}

/* ---------------------------------------------------------------- never negotiated */

/* Each kind of caller at each kind of node that is another: who counts what. */
static const struct {
	const char *comment;
	enum ob__link_security a;
	enum ob__link_security b;
	const char *at_a;
	const char *at_b;
} mixes[] = {
	{"plain caller of encode", OB__LINK_PSK, OB__LINK_PLAIN, "not_encrypted", "refused"},
	{"plain caller of tls", OB__LINK_CERT, OB__LINK_PLAIN, "not_encrypted", "refused"},
	{"encode at a plain node", OB__LINK_PLAIN, OB__LINK_PSK, "encrypted", "tls"},
	{"tls at a plain node", OB__LINK_PLAIN, OB__LINK_CERT, "encrypted", "tls"},
	{"encode at a tls node", OB__LINK_CERT, OB__LINK_PSK, "tls", "tls"},
	{"tls at an encode node", OB__LINK_PSK, OB__LINK_CERT, "tls", "tls"},
};

static struct ob__links_options options_of(enum ob__link_security security, const struct cert *c)
{
	struct ob__links_options o = {.security = security};
	if (security == OB__LINK_CERT) {
		o = certs(c);
	}
	return o;
}

static void test_mixes(void)
{
	for (size_t i = 0; i < sizeof(mixes) / sizeof(mixes[0]); i++) {
		struct ob__links_options of_a = options_of(mixes[i].a, &route_1);
		struct ob__links_options of_b = options_of(mixes[i].b, &proxy_1);
		begin(&of_a, &of_b);
		rig_dial(&b, a.port);
		refused(&a, mixes[i].at_a);
		CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&b, mixes[i].at_b) > 0));
		if (rig_closed(&b, mixes[i].at_b) == 0) {
			printf("# %s: %s\n", mixes[i].comment, rig_remotes(&b).error);
		}
		end();
	}
}

static void test_plain_words(void)
{
	struct ob__frame f;
	begin(&psk, NULL);
	puppet_begin(&p, &a, "proxy_1", "proxy", 9, RIG_TOKEN);
	CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.status == OB__HELLO_REFUSED);
	static const char said[] = "this node's links are encrypted: set encode or tls as it does";
	CU_ASSERT_EQUAL(f.payload_len, sizeof(said) - 1);
	CU_ASSERT_NSTRING_EQUAL(f.payload, said, sizeof(said) - 1);
	CU_ASSERT_TRUE(puppet_hears_end(&p));
	puppet_close(&p);
	end();
}

/* The features and versions of a hello are in its proof: changed on the way, it is worth nothing.
 */
static void test_changed_hello(void)
{
	begin(NULL, NULL);
	for (int i = 0; i < 3; i++) {
		puppet_init(&p, puppet_socket(a.port, 0), "proxy_1", "proxy", 9, RIG_TOKEN);
		p.dialer = true;
		struct ob__hello honest = p.mine;
		p.mine.version_max = i == 0 ? 7 : 1;
		p.mine.features = i == 1 ? 1 : 0;
		if (i == 2) {
			snprintf(p.mine.role, sizeof(p.mine.role), "route");
		}
		puppet_introduce(&p, OB__HELLO_DIALER); /* as it arrives */
		CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_ACCEPTOR));
		p.mine = honest; /* as it was sent */
		puppet_prove(&p);
		struct ob__frame f;
		CU_ASSERT_TRUE(puppet_hear(&p, &f) && f.status == OB__HELLO_REFUSED);
		puppet_close(&p);
	}
	CU_ASSERT_EQUAL(rig_closed(&a, "wrong_token"), 3);
	CU_ASSERT_EQUAL(a.ups, 0);
	end();
}

/* ---------------------------------------------------------------- tokens */

static void test_wrong_token(void)
{
	struct ob__links_options other = {.token = OTHER_TOKEN, .security = OB__LINK_PSK};
	begin(&psk, &other);
	rig_dial(&b, a.port);
	refused(&a, "wrong_token");
	end();
	other.security = OB__LINK_PLAIN;
	begin(NULL, &other);
	rig_dial(&b, a.port);
	refused(&a, "wrong_token");
	end();
	/* A right certificate and a wrong token. */
	struct ob__links_options of_a = certs(&route_1);
	struct ob__links_options of_b = certs(&proxy_1);
	of_b.token = OTHER_TOKEN;
	begin(&of_a, &of_b);
	rig_dial(&b, a.port);
	refused(&a, "wrong_token");
	end();
}

static const struct ob__role_token by_role[] = {
	{"proxy", {OTHER_TOKEN, THIRD_TOKEN}},
	{"route", {RIG_TOKEN, NULL}},
};

/* Who says he is what, with which token, and whether he is believed. */
static const struct {
	const char *role;
	const char *token;
	bool in;
} claims[] = {
	{"proxy", OTHER_TOKEN, true},    {"proxy", THIRD_TOKEN, true}, /* either of two */
	{"proxy", RIG_TOKEN, false}, /* that of a route node, and of membership */
	{"route", OTHER_TOKEN, false},   {"route", RIG_TOKEN, true},
	{"service", RIG_TOKEN, false}, /* a role without a token */
	{"service", OTHER_TOKEN, false}, {"proxy", "no token that is known", false},
};

static void test_roles(void)
{
	struct ob__links_options o = {.roles = by_role, .roles_len = 2, .token = RIG_TOKEN};
	int in = 0;
	begin(&o, NULL);
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		bool joined = puppet_join(&p, &a, "x", claims[i].role, 9, claims[i].token);
		CU_ASSERT_EQUAL(joined, claims[i].in);
		puppet_close(&p);
		in += claims[i].in;
		CU_ASSERT_TRUE(RIG_UNTIL(a.downs == in));
	}
	CU_ASSERT_EQUAL(a.ups, in);
	end();
}

/* The same through TLS, where the key of the connection is one that is known here, and the role is
 * another's all the same. */
static void test_roles_encrypted(void)
{
	struct ob__links_options of_a = {
		.roles = by_role, .roles_len = 2, .security = OB__LINK_PSK};
	struct ob__links_options of_b = {.token = RIG_TOKEN, .security = OB__LINK_PSK};
	begin(&of_a, &of_b); /* proxy_1 with the route nodes' token */
	rig_dial(&b, a.port);
	refused(&a, "wrong_token");
	end();
	of_b = (struct ob__links_options){
		.roles = by_role, .roles_len = 2, .security = OB__LINK_PSK};
	begin(&of_a, &of_b);
	rig_dial(&b, a.port);
	CU_ASSERT_TRUE(up());
	end();
}

/* A token is changed in three steps while the link stays: nothing is refused on the way. */
static void test_rotation(void)
{
	struct ob__role_token t[] = {{"proxy", {OTHER_TOKEN, NULL}}};
	struct ob__links_options o = {.roles = t, .roles_len = 1, .security = OB__LINK_PSK};
	static const char *const steps[][2] = {
		{OTHER_TOKEN, THIRD_TOKEN}, {THIRD_TOKEN, OTHER_TOKEN}, {THIRD_TOKEN, NULL}};
	begin(&o, &o);
	rig_dial(&b, a.port);
	CU_ASSERT_TRUE(up());
	struct ob__remote_options entry = {.host = "127.0.0.1", .port = a.port};
	for (int i = 0; i < 3; i++) {
		t[0].token[0] = steps[i][0];
		t[0].token[1] = steps[i][1];
		CU_ASSERT_EQUAL(ob__links_rekey(i % 2 == 0 ? a.links : b.links, &o), 0);
		ob__links_retain(b.links, &entry, 1);
		rig_turn_ms(5);
		CU_ASSERT_EQUAL(a.downs + b.downs, 0);
		ob__peer_close(a.links, rig_peer(&a, "proxy_1"), "test"); /* half way */
		CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1 && b.downs == 1 && a.ups == 2 && b.ups == 2));
		CU_ASSERT_EQUAL(ob__links_rekey(i % 2 == 0 ? b.links : a.links, &o), 0);
		a.ups = b.ups = 1;
		a.downs = b.downs = 0;
	}
	CU_ASSERT_EQUAL(rig_closed(&a, "wrong_token"), 0);
	t[0].token[0] = "too short";
	CU_ASSERT_EQUAL(ob__links_rekey(a.links, &o), -EINVAL);
	ob__peer_close(a.links, rig_peer(&a, "proxy_1"), "test");
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 2)); /* with what it had */
	end();
}

/* ---------------------------------------------------------------- certificates */

static const struct {
	const char *comment;
	const struct cert *a;
	const struct cert *b;
	bool at_a;
	const char *reason;
} bad[] = {
	{"expired", &route_1, &late, true, "tls"},
	{"of another CA", &route_1, &foreign, true, "tls"},
	{"of another node", &route_1, &proxy_2, true, "certificate"},
	{"of another role", &route_1, &route_1, true, "certificate"},
	{"an acceptor's, expired", &late, &proxy_1, false, "tls"},
	{"an acceptor's, of another CA", &foreign, &proxy_1, false, "tls"},
	{"an acceptor's, of another node", &proxy_2, &proxy_1, false, "certificate"},
};

static void test_bad_certificates(void)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ob__links_options of_a = certs(bad[i].a);
		struct ob__links_options of_b = certs(bad[i].b);
		begin(&of_a, &of_b);
		rig_dial(&b, a.port);
		refused(bad[i].at_a ? &a : &b, bad[i].reason);
		end();
	}
}

/* ---------------------------------------------------------------- oneself */

static void test_self(void)
{
	begin(&psk, &psk);
	rig_dial(&a, a.port);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "self") > 0));
	CU_ASSERT_EQUAL(a.ups, 0);
	end();
}

/* What a node sent is sent back to it, byte for byte: as TLS, and as a hello in TLS's place. */
static void test_reflection(void)
{
	int port;
	begin(&psk, &psk);
	int listener = puppet_listen(&port);
	rig_dial(&b, port);
	int fd = puppet_accept(listener);
	uint8_t data[4096];
	ssize_t n = -1;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	CU_ASSERT_TRUE(RIG_UNTIL(n > 0 || (n = recv(fd, data, sizeof(data), 0)) > 0));
	CU_ASSERT_EQUAL(data[0], 0x16);
	CU_ASSERT_EQUAL(send(fd, data, (size_t)n, MSG_NOSIGNAL), n);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&b, "tls") == 1));
	/* And to its own port, from a stranger: it knows its own id. */
	int own = puppet_socket(b.port, 0);
	CU_ASSERT_EQUAL(send(own, data, (size_t)n, MSG_NOSIGNAL), n);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&b, "self") == 1));
	CU_ASSERT_EQUAL(b.ups, 0);
	close(own);
	close(fd);
	close(listener);
	end();
}

/* All that a dialer ever said, recorded and said again: the second acceptor's nonce differs. */
static void test_replay(void)
{
	static uint8_t record[65536];
	size_t len = 0;
	int port;
	begin(&psk, &psk);
	int listener = puppet_listen(&port);
	rig_dial(&b, port);
	int from = puppet_accept(listener);
	int to = puppet_socket(a.port, 0);
	fcntl(from, F_SETFL, O_NONBLOCK);
	fcntl(to, F_SETFL, O_NONBLOCK);
	CU_ASSERT_TRUE(RIG_UNTIL(({
		uint8_t back[4096];
		ssize_t n = recv(from, record + len, sizeof(record) - len, 0);
		if (n > 0) {
			send(to, record + len, (size_t)n, MSG_NOSIGNAL);
			len += (size_t)n;
		}
		n = recv(to, back, sizeof(back), 0);
		if (n > 0) {
			send(from, back, (size_t)n, MSG_NOSIGNAL);
		}
		a.ups == 1 && b.ups == 1;
	})));
	close(from);
	close(to);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 1));
	uint64_t before = rig_closed(&a, "tls");
	int again = puppet_socket(a.port, 0);
	CU_ASSERT_EQUAL(send(again, record, len, MSG_NOSIGNAL), (ssize_t)len);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "tls") == before + 1));
	CU_ASSERT_EQUAL(a.ups, 1);
	close(again);
	close(listener);
	end();
}

/* The hello of a connection is worth nothing on another one, even with the token's own key: each
 * TLS has its exporter. */
static void test_bound(void)
{
	uint8_t key[32];
	uint8_t one[32] = {1};
	uint8_t other[32] = {2};
	uint8_t mac[3][OB__HELLO_MAC];
	struct ob__hello d = {.id = 1, .role = "x", .version_min = 1, .version_max = 1};
	struct ob__hello c = {.id = 2, .role = "y", .version_min = 1, .version_max = 1};
	ob__hello_key(RIG_TOKEN, key);
	ob__hello_mac(key, 'D', &d, &c, one, 32, mac[0]);
	ob__hello_mac(key, 'D', &d, &c, other, 32, mac[1]);
	ob__hello_mac(key, 'D', &d, &c, NULL, 0, mac[2]);
	CU_ASSERT_FALSE(ob__hello_mac_equal(mac[0], mac[1]));
	CU_ASSERT_FALSE(ob__hello_mac_equal(mac[0], mac[2]));
}

/* Strangers that say nothing, or garbage in TLS's dress, are gone in time and leave no place taken.
 */
static void test_strangers(void)
{
	struct ob__links_options o = {.security = OB__LINK_PSK, .hello_ms = 200, .max_hello = 8};
	int fds[8];
	begin(&o, &psk);
	for (int i = 0; i < 8; i++) {
		fds[i] = puppet_socket(a.port, 0);
		if (i % 2 == 0) {
			send(fds[i], "\x16\x03\x01\x02\x00\x01", 6, MSG_NOSIGNAL);
		}
	}
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "hello_timeout") == 8));
	for (int i = 0; i < 8; i++) {
		close(fds[i]);
	}
	rig_dial(&b, a.port);
	CU_ASSERT_TRUE(up());
	end();
}

/* ---------------------------------------------------------------- */

static void test_make_certs(void)
{
	cert_dir_make();
	cert_make(&ca, "ca", NULL, NULL, 3600);
	cert_make(&ca2, "ca2", NULL, NULL, 3600);
	cert_make(&route_1, "route_1", &ca, "URI:obhost:route/route_1", 3600);
	cert_make(&proxy_1, "proxy_1", &ca, "DNS:x,URI:obhost:proxy/proxy_1", 3600);
	cert_make(&proxy_2, "proxy_2", &ca, "URI:obhost:proxy/proxy_11,URI:obhost:proxy/proxy_",
	          3600);
	cert_make(&late, "late", &ca, "URI:obhost:proxy/proxy_1,URI:obhost:route/route_1", -60);
	cert_make(&foreign, "foreign", &ca2, "URI:obhost:proxy/proxy_1,URI:obhost:route/route_1",
	          3600);
}

static void test_drop_certs(void)
{
	struct cert *all[] = {&ca, &ca2, &route_1, &proxy_1, &proxy_2, &late, &foreign};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		cert_free(all[i]);
	}
	cert_dir_remove();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("link_tls", NULL, NULL);
	CU_add_test(s, "certificates are made", test_make_certs);
	CU_add_test(s, "a key from the token", test_psk);
	CU_add_test(s, "certificates on both sides", test_certificates);
	CU_add_test(s, "certificates without a token", test_certificates_alone);
	CU_add_test(s, "an entry with its own", test_entry);
	CU_add_test(s, "plain, encode and tls never meet", test_mixes);
	CU_add_test(s, "a plain caller is told the cure", test_plain_words);
	CU_add_test(s, "downgrade: a hello changed on the way", test_changed_hello);
	CU_add_test(s, "wrong token", test_wrong_token);
	CU_add_test(s, "wrong role with a token of membership", test_roles);
	CU_add_test(s, "wrong role, encrypted", test_roles_encrypted);
	CU_add_test(s, "rotation of a token", test_rotation);
	CU_add_test(s, "expired, another CA, wrong SAN", test_bad_certificates);
	CU_add_test(s, "own id as peer", test_self);
	CU_add_test(s, "reflection", test_reflection);
	CU_add_test(s, "replay of a recorded hello", test_replay);
	CU_add_test(s, "a proof belongs to its TLS", test_bound);
	CU_add_test(s, "strangers", test_strangers);
	CU_add_test(s, "and taken away", test_drop_certs);
	return ob__tap_run();
}
