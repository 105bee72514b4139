/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Links over sockets that somebody else makes: the transport here is a function of the test. */

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "link_rig.h"
#include "mesh/dialer.h"

static struct rig_node a;
static struct rig_node b;

/* What the fake transport does. */
static struct {
	int asked;
	char last[64]; /* "TRANSPORT ADDRESS" */
	char order[256];
	int fd; /* HAND: what it hands out, again and again */
} fake;

static int begin_tcp(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	                         .sin_port = htons((uint16_t)port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int rc = connect(fd, (struct sockaddr *)&to, sizeof(to));
	CU_ASSERT_TRUE_FATAL(fd >= 0 && (rc == 0 || errno == EINPROGRESS));
	return fd;
}

/* Addresses: "port N" dials without waiting, "hand" gives fake.fd, "pair" one end of a pair whose
 * other end is fake.fd, "drop" takes all entries out meanwhile; else it fails. */
static int give(void *arg, const struct ob__transport_way *way, int *fd, char *err, size_t err_cap)
{
	struct rig_node *n = arg;
	int pair[2];
	fake.asked++;
	snprintf(fake.last, sizeof(fake.last), "%s %s", way->transport, way->address);
	snprintf(fake.order + strlen(fake.order), sizeof(fake.order) - strlen(fake.order), "%s,",
	         way->transport);
	if (strcmp(way->transport, "absent") == 0) {
		snprintf(err, err_cap, "nobody has it");
		return OB_E_NOT_FOUND;
	}
	if (strncmp(way->address, "port ", 5) == 0) {
		*fd = begin_tcp(atoi(way->address + 5));
		return 0;
	}
	if (strcmp(way->address, "hand") == 0) {
		*fd = fake.fd;
		return 0;
	}
	if (strcmp(way->address, "drop") == 0) {
		ob__links_retain(n->links, NULL, 0);
	}
	if (strcmp(way->address, "pair") == 0 || strcmp(way->address, "drop") == 0) {
		CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		*fd = pair[0];
		fake.fd = pair[1];
		return 0;
	}
	snprintf(err, err_cap, "there is no %s", way->address);
	return -ENOENT;
}

static void begin(const struct ob__links_options *options)
{
	memset(&fake, 0, sizeof(fake));
	rig_begin();
	rig_start(&a, "proxy_1", "proxy", 1, 0, options);
	rig_start(&b, "route_1", "route", 1, 0, options);
	ob__links_set_transports(a.links, give, &a);
}

static void end(void)
{
	rig_stop(&a);
	rig_stop(&b);
	rig_end();
}

static int dial_as(const char *transport, const char *address)
{
	struct ob__transport_way way = {transport, address};
	struct ob__remote_options o = {.ways = &way, .ways_len = 1};
	return ob__links_dial(a.links, &o);
}

static const char *port_of(const struct rig_node *n)
{
	static char text[32];
	snprintf(text, sizeof(text), "port %d", n->port);
	return text;
}

static bool is_open(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0;
}

/* ---------------------------------------------------------------- it works */

static void test_up(void)
{
	char address[64];
	begin(NULL);
	CU_ASSERT_EQUAL(dial_as("t", port_of(&b)), 0);
	CU_ASSERT_EQUAL(dial_as("t", port_of(&b)), -EEXIST);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1 && b.ups == 1));
	CU_ASSERT_TRUE(rig_states_are(&a, "u"));
	snprintf(address, sizeof(address), "t:port %d", b.port);
	CU_ASSERT_STRING_EQUAL(rig_peer(&a, "route_1")->address, address);
	for (int i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL(rig_send(&a, "route_1", "hello", 5), 0);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(b.heard == 100));
	CU_ASSERT_TRUE(b.in_order);
	/* It is TCP, so small pieces go at once. */
	int on = 0;
	socklen_t len = sizeof(on);
	uv_os_fd_t fd;
	fd = rig_link(&a, "route_1")->stream.sock.fd;
	CU_ASSERT(fd >= 0);
	CU_ASSERT_EQUAL(getsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, &len), 0);
	CU_ASSERT_TRUE(on != 0);
	CU_ASSERT_TRUE((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	/* Lost, it is asked again; and taken out by its address. */
	ob__peer_close(b.links, rig_peer(&b, "proxy_1"), "for a test");
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 2 && fake.asked == 2));
	CU_ASSERT_EQUAL(ob__links_drop(a.links, address), 1);
	CU_ASSERT_TRUE(RIG_UNTIL(a.downs == 2));
	end();
}

/* One end of a pair: it is connected from the start; the other end is a process that relays, say.
 */
static void test_pair(void)
{
	struct puppet p;
	begin(NULL);
	CU_ASSERT_EQUAL(dial_as("t", "pair"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(fake.asked == 1));
	puppet_init(&p, fake.fd, "route_2", "route", 7, RIG_TOKEN);
	CU_ASSERT_TRUE(puppet_hears_step(&p, OB__HELLO_DIALER));
	close(fake.fd);
	CU_ASSERT_TRUE(RIG_UNTIL(fake.asked == 2)); /* again */
	close(fake.fd);
	end();
}

/* ---------------------------------------------------------------- it fails */

static void test_fails(void)
{
	begin(&(struct ob__links_options){.reconnect_ms = 20});
	CU_ASSERT_EQUAL(dial_as("t", "nobody"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(fake.asked >= 3)); /* again and again, with pauses */
	CU_ASSERT_STRING_EQUAL(rig_remotes(&a).error, "there is no nobody");
	CU_ASSERT_TRUE(rig_states_are(&a, "w"));
	CU_ASSERT_EQUAL(rig_closed(&a, "unreachable"), 0); /* there was no link to close */
	CU_ASSERT_STRING_EQUAL(fake.last, "t nobody");
	end();
}

/* The connection is refused while the loop waits for it. */
static void test_refused(void)
{
	int port;
	begin(&(struct ob__links_options){.reconnect_ms = 20});
	int fd = puppet_listen(&port);
	close(fd);
	char text[32];
	snprintf(text, sizeof(text), "port %d", port);
	CU_ASSERT_EQUAL(dial_as("t", text), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "unreachable") >= 2));
	CU_ASSERT_STRING_EQUAL(rig_remotes(&a).error, "connection refused");
	end();
}

/* A connection that is made, but not within the time: its backlog is full. */
static void test_in_progress(void)
{
	int port;
	int in_the_way[3];
	char text[32];
	begin(&(struct ob__links_options){.hello_ms = 150, .reconnect_ms = 10});
	int fd = puppet_listen(&port);
	CU_ASSERT_EQUAL(listen(fd, 0), 0);
	for (size_t i = 0; i < 3; i++) {
		in_the_way[i] = begin_tcp(port);
	}
	rig_turn_ms(20);
	snprintf(text, sizeof(text), "port %d", port);
	CU_ASSERT_EQUAL(dial_as("t", text), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_states_are(&a, "c"))); /* connecting */
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "unreachable") == 1));
	CU_ASSERT_STRING_EQUAL(rig_remotes(&a).error, "no connection within 150 ms");
	/* Taken out while it is under way: nothing stays open (rig_end() looks). */
	CU_ASSERT_TRUE(RIG_UNTIL(rig_states_are(&a, "c")));
	ob__links_retain(a.links, NULL, 0);
	CU_ASSERT_TRUE(rig_states_are(&a, ""));
	for (size_t i = 0; i < 3; i++) {
		close(in_the_way[i]);
	}
	close(fd);
	end();
}

/* Descriptors that are no stream sockets are left alone: whose they are nobody knows. */
static void test_bad_fd(void)
{
	static const struct {
		const char *what;
		const char *error;
		bool closed;
	} rows[] = {
		{"none", "t: bad file descriptor", false},
		{"a pipe", "t: socket operation on non-socket", false},
		{"datagrams", "t: no stream socket", false},
		{"one that is not connected", "socket is not connected", true},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int ends[2] = {-1, -1};
		begin(NULL);
		switch (i) {
		case 0:
			fake.fd = -1;
			break;
		case 1:
			CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
			fake.fd = ends[1];
			break;
		case 2:
			fake.fd = socket(AF_UNIX, SOCK_DGRAM, 0);
			break;
		default:
			fake.fd = socket(AF_UNIX, SOCK_STREAM, 0);
		}
		CU_ASSERT_EQUAL(dial_as("t", "hand"), 0);
		CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "unreachable") >= 1));
		if (strcmp(rig_remotes(&a).error, rows[i].error) != 0) {
			printf("# %s: %s\n", rows[i].what, rig_remotes(&a).error);
		}
		CU_ASSERT_STRING_EQUAL(rig_remotes(&a).error, rows[i].error);
		ob__links_retain(a.links, NULL, 0);
		CU_ASSERT_EQUAL(is_open(fake.fd), i != 0 && i != 2 && !rows[i].closed);
		if (i == 1) {
			close(ends[0]);
			close(ends[1]);
		}
		end();
	}
}

/* A descriptor that is the loop's already: the link that has it is not harmed. */
static void test_fd_in_use(void)
{
	uv_os_fd_t fd;
	begin(NULL);
	rig_dial(&a, b.port);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1 && b.ups == 1));
	fd = rig_link(&a, "route_1")->stream.sock.fd;
	CU_ASSERT(fd >= 0);
	fake.fd = fd;
	CU_ASSERT_EQUAL(dial_as("t", "hand"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_closed(&a, "unreachable") >= 1));
	CU_ASSERT_STRING_EQUAL(rig_remotes(&a).error, "t: file already exists");
	CU_ASSERT_EQUAL(rig_send(&a, "route_1", "hello", 5), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(b.heard == 1));
	CU_ASSERT_EQUAL(a.downs, 0);
	end();
}

/* Its entry is taken out from within. */
static void test_dropped(void)
{
	begin(NULL);
	CU_ASSERT_EQUAL(dial_as("t", "drop"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(fake.asked == 1));
	char byte;
	CU_ASSERT_EQUAL(recv(fake.fd, &byte, 1, 0), 0); /* it was closed */
	close(fake.fd);
	CU_ASSERT_TRUE(rig_states_are(&a, ""));
	end();
}

static void test_wrong_options(void)
{
	static char far[OB__TRANSPORT_ADDRESS + 1];
	memset(far, 'x', sizeof(far) - 1);
	begin(NULL);
	CU_ASSERT_EQUAL(dial_as("", "x"), -EINVAL);
	CU_ASSERT_EQUAL(dial_as("t", ""), -EINVAL);
	CU_ASSERT_EQUAL(dial_as("t", far), -EINVAL);
	struct ob__transport_way way = {"t", "x"};
	struct ob__remote_options o = {.ways = &way, .ways_len = 1, .host = "h", .port = 1};
	CU_ASSERT_EQUAL(ob__links_dial(a.links, &o), -EINVAL); /* one address each */
	CU_ASSERT_EQUAL(fake.asked, 0);
	end();
}

/* ---------------------------------------------------------------- it is not there */

static void test_missing(void)
{
	begin(&(struct ob__links_options){.reconnect_ms = 5});
	ob__links_set_transports(a.links, NULL, NULL);
	CU_ASSERT_EQUAL(dial_as("t", port_of(&b)), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_states_are(&a, "n"))); /* no transport */
	CU_ASSERT_STRING_EQUAL(rig_remotes(&a).error, "nobody offers the transport t");
	ob__links_set_transports(a.links, give, &a);
	rig_turn_ms(50);
	CU_ASSERT_EQUAL(fake.asked, 0); /* it waits to be told */
	ob__links_transports_changed(a.links);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1));
	CU_ASSERT_EQUAL(fake.asked, 1);
	/* Gone again: the link stays. */
	ob__links_set_transports(a.links, NULL, NULL);
	ob__links_transports_changed(a.links);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(rig_send(&a, "route_1", "hello", 5), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(b.heard == 1));
	ob__peer_close(a.links, rig_peer(&a, "route_1"), "for a test");
	CU_ASSERT_TRUE(RIG_UNTIL(rig_states_are(&a, "n")));
	end();
}

/* ---------------------------------------------------------------- learned */

static struct ob__remote *learn(const struct ob__transport_way *ways, size_t len, int port,
                                const char *near)
{
	struct ob__remote_options o = {
		.ways = ways,
		.ways_len = len,
		.host = port != 0 ? "127.0.0.1" : NULL,
		.port = port,
		.near = near,
		.node = ob__node_id("route_1"),
	};
	int err = 0;
	struct ob__remote *r = ob__links_dial_node(a.links, &o, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	return r;
}

/* Near, then the transports in their order, one that is not there at no cost, then tcp. */
static void test_order(void)
{
	const struct ob__transport_way ways[] = {
		{"absent", "x"}, {"second", "nobody"}, {"third", "pair"}};
	begin(NULL);
	learn(ways, 3, b.port, "/nowhere/at/all");
	CU_ASSERT_TRUE(RIG_UNTIL(fake.asked == 3));
	CU_ASSERT_STRING_EQUAL(fake.order, "absent,second,third,");
	close(fake.fd); /* no hello comes by that one */
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1));
	CU_ASSERT_EQUAL(fake.asked, 3);
	CU_ASSERT_EQUAL(rig_closed(&a, "unreachable"), 1); /* near */
	end();
}

/* The first that works is the one. */
static void test_preferred(void)
{
	char first[32];
	const struct ob__transport_way ways[] = {{"first", first}, {"second", "nobody"}};
	begin(NULL);
	snprintf(first, sizeof(first), "%s", port_of(&b));
	struct ob__remote *r = learn(ways, 2, b.port, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 1));
	CU_ASSERT_STRING_EQUAL(fake.order, "first,");
	CU_ASSERT_STRING_EQUAL(ob__remote_state(r), "up");
	/* An entry of the same address has the say. */
	CU_ASSERT_EQUAL(dial_as("first", first), 0);
	ob__peer_close(a.links, rig_peer(&a, "route_1"), "for a test");
	CU_ASSERT_TRUE(RIG_UNTIL(a.ups == 2));
	CU_ASSERT_STRING_EQUAL(ob__remote_state(r), "covered");
	end();
}

/* Nothing but transports that are not there. */
static void test_no_way(void)
{
	const struct ob__transport_way ways[] = {{"absent", "x"}, {"absent", "y"}};
	begin(&(struct ob__links_options){.reconnect_ms = 5});
	struct ob__remote *r = learn(ways, 2, 0, NULL);
	CU_ASSERT_TRUE(RIG_UNTIL(strcmp(ob__remote_state(r), "no transport") == 0));
	CU_ASSERT_EQUAL(fake.asked, 2);
	rig_turn_ms(50);
	CU_ASSERT_EQUAL(fake.asked, 2);
	ob__links_undial(r);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("remote", NULL, NULL);
	CU_add_test(s, "a link over a socket that is being connected", test_up);
	CU_add_test(s, "a link over one end of a pair", test_pair);
	CU_add_test(s, "the transport says no", test_fails);
	CU_add_test(s, "the connection is refused", test_refused);
	CU_add_test(s, "it takes too long; it is given up", test_in_progress);
	CU_add_test(s, "descriptors that can't be used", test_bad_fd);
	CU_add_test(s, "a descriptor that is in use", test_fd_in_use);
	CU_add_test(s, "the entry goes while the transport is asked", test_dropped);
	CU_add_test(s, "entries that make no sense", test_wrong_options);
	CU_add_test(s, "a transport that is not there, comes, and goes", test_missing);
	CU_add_test(s, "the order of what is tried", test_order);
	CU_add_test(s, "the first that works", test_preferred);
	CU_add_test(s, "a node that can't be reached", test_no_way);
	return ob__tap_run();
}
