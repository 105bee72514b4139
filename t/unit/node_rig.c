/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "unit/node_rig.h"

#include <arpa/inet.h>
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <uv.h>

#include "base/log.h"
#include "host/admin/admin.h"
#include "lib/buf.h"
#include "unit/files.h"

char rig_dir[128];

#define RELOAD_PLAIN "\"probation\": 0, \"probe\": 0, \"rate\": \"0/s\""

static struct rig_node *running[RIG_NODES];

/* ---------------------------------------------------------------- text */

static void quotes(char *text)
{
	for (; *text != '\0'; text++) {
		*text = *text == '\'' ? '"' : *text;
	}
}

/* ---------------------------------------------------------------- begin and end */

void rig_begin(void)
{
	char path[160];

	files_make_dir(rig_dir, sizeof(rig_dir));
	snprintf(path, sizeof(path), "%s/mods", rig_dir);
	if (mkdir(path, 0755) != 0) {
		perror(path);
		abort();
	}
	memset(running, 0, sizeof(running));
}

/* A node that is gone leaves no staged module and no socket. */
static void check_leftovers(const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/state/%s/admin.sock", rig_dir, name);
	CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/state/%s/stage", rig_dir, name);
	DIR *d = opendir(path);
	const struct dirent *e;
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] != '.') {
			printf("# left behind: %s/%s\n", path, e->d_name);
			CU_FAIL("a staged module is left behind");
		}
	}
	if (d != NULL) {
		closedir(d);
	}
}

void rig_end(void)
{
	for (size_t i = 0; i < RIG_NODES; i++) {
		if (running[i] != NULL) {
			rig_kill(running[i]);
		}
	}
	files_remove(rig_dir);
	ob__log_set_level(OB_LOG_INFO);
}

/* ---------------------------------------------------------------- ports */

#define PORTS_FROM  10240 /* below those that the kernel gives to outgoing connections */
#define PORTS_UNTIL 32768

static bool can_bind(int port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)port),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = bind(fd, (struct sockaddr *)&a, sizeof(a));

	close(fd);
	return rc == 0;
}

/* A name in the abstract namespace holds the port for this process among all tests, those in
 * t/system too, until it ends. */
static bool reserve(int port)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int len = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "obhost-test-port-%d", port);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&a,
	         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) == 0) {
		return true;
	}
	close(fd);
	return false;
}

int rig_port(void)
{
	static int last;

	if (last == 0) {
		last = PORTS_FROM + getpid() * 37 % (PORTS_UNTIL - PORTS_FROM);
	}
	for (int i = PORTS_FROM; i < PORTS_UNTIL; i++) {
		last = last + 1 < PORTS_UNTIL ? last + 1 : PORTS_FROM;
		if (can_bind(last) && reserve(last)) {
			return last;
		}
	}
	CU_FAIL_FATAL("no free port");
	return 0;
}

/* ---------------------------------------------------------------- nodes */

static const char *env_or(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value != NULL ? value : otherwise;
}

static void write_conf(struct rig_node *n, const char *name, const char *type, const char *fmt,
                       va_list ap)
{
	struct ob__buf b = {0};
	char more[8192];
	int len = vsnprintf(more, sizeof(more), fmt, ap);

	CU_ASSERT_FATAL(len >= 0 && (size_t)len < sizeof(more));
	quotes(more);
	snprintf(n->name, sizeof(n->name), "%s", name);
	snprintf(n->conf_path, sizeof(n->conf_path), "%s/%s.conf", rig_dir, name);
	ob__buf_printf(&b,
	               "{\"name\": \"%s\", \"type\": \"%s\", \"state_dir\": \"%s/state\",\n"
	               "\"module_dirs\": [\"%s/mods\", \"%s\", \"%s\", \"%s\"],\n",
	               name, type, rig_dir, rig_dir, env_or("OB_TESTMOD_PATH", "t/modules/.libs"),
	               env_or("OB_MODULE_PATH", "modules/.libs"),
	               env_or("OB_EXAMPLE_PATH", "examples/.libs"));
	if (getenv("RIG_LOG") == NULL) {
		ob__buf_printf(&b, "\"log_dir\": \"%s/log\",\n", rig_dir);
	}
	if (strstr(more, "\"log_level\"") == NULL) {
		ob__buf_printf(&b, "\"log_level\": \"debug\",\n");
	}
	/* A test that wants probation, a rehearsal or a limit says so. */
	if (strstr(more, "\"reload\"") == NULL) {
		ob__buf_printf(&b, "\"reload\": {%s},\n", RELOAD_PLAIN);
	}
	ob__buf_printf(&b, "%s}\n", more);
	files_write(n->conf_path, b.data, b.len);
	ob__buf_free(&b);
}

void rig_write_conf(struct rig_node *n, const char *name, const char *type, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_conf(n, name, type, fmt, ap);
	va_end(ap);
}

static void on_report(void *arg, enum ob__conf_severity severity, const char *line)
{
	(void)arg;
	if (severity != OB__CONF_INFO) {
		printf("# %s\n", line);
	}
}

struct ob__node *rig_start_conf(struct rig_node *n, int *exit_code)
{
	struct ob__nodeconf *conf = ob__nodeconf_load(n->conf_path, NULL, 0, on_report, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	conf->probe_exe = getenv("OB_OBHOST"); /* never this program, which is a test */
	conf->probe_program = getenv("OB_PROBE");
	n->node = ob__node_start(conf, NULL, 0, exit_code);
	if (n->node == NULL) {
		check_leftovers(n->name);
		return NULL;
	}
	n->http_port = conf->http_port;
	n->rpc_port = conf->rpc_port;
	const struct ob__clients *c = &n->node->clients;
	n->port = c->listeners_len > 0 && c->listeners[0].listener != NULL
	                  ? ob__listener_port(c->listeners[0].listener)
	                  : 0;
	for (size_t i = 0; i < RIG_NODES; i++) {
		if (running[i] == NULL) {
			running[i] = n;
			return n->node;
		}
	}
	CU_FAIL_FATAL("too many nodes");
	return NULL;
}

void rig_start(struct rig_node *n, const char *name, const char *type, const char *fmt, ...)
{
	va_list ap;
	int code = -1;

	memset(n, 0, sizeof(*n));
	va_start(ap, fmt);
	write_conf(n, name, type, fmt, ap);
	va_end(ap);
	if (rig_start_conf(n, &code) == NULL) {
		char *log = rig_log(name);
		printf("# %s\n", log);
		free(log);
		CU_FAIL_FATAL("the node did not start");
	}
}

static void forget(struct rig_node *n)
{
	for (size_t i = 0; i < RIG_NODES; i++) {
		if (running[i] == n) {
			running[i] = NULL;
		}
	}
}

/* The log is the process's: it ends with the first node, and what others say then is dropped. */
static void end_node(struct rig_node *n)
{
	ob__node_free(n->node);
	n->node = NULL;
	if (getenv("RIG_LOG") == NULL) {
		ob__log_set_level(OB_LOG_ERROR + 1);
	}
	check_leftovers(n->name);
}

void rig_kill(struct rig_node *n)
{
	forget(n);
	OB__LIST_EACH (it, &n->node->registry.peers) {
		struct ob__peer *peer = OB__CONTAINER(it, struct ob__peer, all_link);
		uv_os_fd_t fd;
		if (peer->link != NULL && (fd = peer->link->stream.sock.fd) >= 0) {
			shutdown(fd, SHUT_RDWR);
		}
	}
	ob__clients_close(n->node, 1001, "the test ends");
	end_node(n);
}

void rig_stop(struct rig_node *n)
{
	ob__node_stop(n->node);
	forget(n);
	/* The others must go on turning meanwhile, so its end is awaited by what ends it. */
	CU_ASSERT_TRUE(RIG_UNTIL((ob__loop_turn(n->node->loop),
	                          n->node->clients.conns.live == 0 &&
	                                  ob__list_empty(&n->node->sessions.notice_list))));
	end_node(n);
}

void rig_freeze(struct rig_node *n, bool frozen)
{
	n->frozen = frozen;
}

struct ob__peer *rig_peer(struct rig_node *from, const struct rig_node *to)
{
	struct ob__peer *p = ob__registry_get(&from->node->registry, ob__node_id(to->name));

	return p != NULL && p->link != NULL ? p : NULL;
}

bool rig_linked(struct rig_node *a, struct rig_node *b)
{
	return RIG_UNTIL(rig_peer(a, b) != NULL && rig_peer(b, a) != NULL);
}

void rig_turn(void)
{
	static unsigned turns;
	struct pollfd fds[RIG_NODES];
	nfds_t len = 0;

	for (size_t i = 0; i < RIG_NODES; i++) {
		if (running[i] != NULL && !running[i]->frozen) {
			ob__loop_turn(running[i]->node->loop);
			int fd = uv_backend_fd(ob__loop_uv(running[i]->node->loop));
			fds[len++] = (struct pollfd){.fd = fd, .events = POLLIN};
		}
	}
	/* Whoever waits long leaves the processor to the threads it waits for. */
	if (++turns % 16 == 0) {
		poll(fds, len, 1);
	}
}

void rig_turn_ms(uint64_t ms)
{
	uint64_t end = ob__loop_hrtime_us() + ms * 1000;

	while (ob__loop_hrtime_us() < end) {
		rig_turn();
	}
}

void rig_module_path(const char *built, char *out, size_t cap)
{
	static const char *const dirs[][2] = {{"OB_TESTMOD_PATH", "t/modules/.libs"},
	                                      {"OB_MODULE_PATH", "modules/.libs"},
	                                      {"OB_EXAMPLE_PATH", "examples/.libs"}};

	for (size_t i = 0; i < 3; i++) {
		snprintf(out, cap, "%s/%s.so", env_or(dirs[i][0], dirs[i][1]), built);
		if (access(out, R_OK) == 0) {
			return;
		}
	}
	printf("# no module %s\n", built);
	CU_FAIL_FATAL("a module of the tests is missing");
}

void rig_install(const char *built, const char *name)
{
	char from[512];
	char to[512];
	char fresh[520];
	size_t len;

	rig_module_path(built, from, sizeof(from));
	char *data = files_read(from, &len);
	snprintf(to, sizeof(to), "%s/mods/%s.so", rig_dir, name);
	snprintf(fresh, sizeof(fresh), "%s.new", to);
	files_write(fresh, data, len);
	CU_ASSERT_EQUAL_FATAL(rename(fresh, to), 0);
	free(data);
}

char *rig_log(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/log/%s.log", rig_dir, name);
	return files_read(path, NULL);
}

/* The writer is a thread of its own, so the line may take a moment. */
bool rig_logged(const char *name, const char *text)
{
	uint64_t end = ob__loop_hrtime_us() + 2000000;
	char *log = rig_log(name);
	bool found;

	while (!(found = strstr(log, text) != NULL) && ob__loop_hrtime_us() < end) {
		free(log);
		rig_turn();
		log = rig_log(name);
	}
	if (!found) {
		printf("# not in the log: %s\n", text);
		for (char *line = strtok(log, "\n"); line != NULL; line = strtok(NULL, "\n")) {
			printf("#   %s\n", line);
		}
	}
	free(log);
	return found;
}

double rig_metric(struct rig_node *n, const char *series)
{
	struct ob__buf page = {0};
	double value = -1;
	size_t len = strlen(series);

	CU_ASSERT_EQUAL(ob__stats_render(n->node->stats, &page), 0);
	ob__buf_append(&page, "", 1);
	for (const char *line = (const char *)page.data; line != NULL && *line != '\0';) {
		if (strncmp(line, series, len) == 0 && line[len] == ' ') {
			value = strtod(line + len, NULL);
			break;
		}
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	ob__buf_free(&page);
	return value;
}

/* ---------------------------------------------------------------- sockets */

static int dial(const struct sockaddr *addr, socklen_t len)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_FATAL(fd >= 0);
	if (connect(fd, addr, len) != 0) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static int dial_port(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_port = htons((uint16_t)port),
	                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	int fd = dial((struct sockaddr *)&a, sizeof(a));
	int yes = 1;

	if (fd >= 0) { /* what is sent at once is there at once */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	}
	return fd;
}

static int dial_path(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return dial((struct sockaddr *)&a, sizeof(a));
}

/* Writes it all, turning when the socket is full; what can't be written is dropped. */
static void write_all(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;
	uint64_t end = ob__loop_hrtime_us() + RIG_PATIENCE_MS * 1000u;

	while (len > 0 && ob__loop_hrtime_us() < end) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			return;
		}
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else {
			rig_turn();
		}
	}
}

/* Room is given in powers of two. */
static size_t room(size_t len)
{
	size_t cap = 64;

	while (cap < len + 1) {
		cap *= 2;
	}
	return cap;
}

static void append(uint8_t **to, size_t *len, const void *data, size_t n)
{
	if (*to == NULL || room(*len + n) > room(*len)) {
		*to = realloc(*to, room(*len + n));
	}
	memcpy(*to + *len, data, n);
	*len += n;
	(*to)[*len] = '\0';
}

static void consume(uint8_t *from, size_t *len, size_t n)
{
	memmove(from, from + n, *len - n);
	*len -= n;
}

/* ---------------------------------------------------------------- clients */

void rig_send_raw(struct rig_client *c, const void *data, size_t len)
{
	write_all(c->fd, data, len);
}

static void read_raw(struct rig_client *c)
{
	uint8_t block[65536];

	while (c->fd >= 0 && !c->eof) {
		ssize_t n = recv(c->fd, block, sizeof(block), 0);
		if (n > 0) {
			append(&c->in, &c->in_len, block, (size_t)n);
			continue;
		}
		c->eof = n == 0 || (errno != EAGAIN && errno != EINTR);
		return;
	}
}

int rig_handshake(struct rig_client *c, int port)
{
	static const char ask[] = "GET / HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n"
				  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
	int status = -1;

	*c = (struct rig_client){.fd = dial_port(port), .ws = true};
	CU_ASSERT_FATAL(c->fd >= 0);
	rig_send_raw(c, ask, sizeof(ask) - 1);
	(void)RIG_UNTIL(
		(read_raw(c), c->eof || (c->in != NULL && strstr((char *)c->in, "\r\n\r\n"))));
	const char *end = c->in != NULL ? strstr((char *)c->in, "\r\n\r\n") : NULL;
	if (end == NULL || sscanf((char *)c->in, "HTTP/1.1 %d", &status) != 1) {
		return -1;
	}
	if (status == 101) {
		CU_ASSERT_PTR_NOT_NULL(strstr((char *)c->in, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
		consume(c->in, &c->in_len, (size_t)(end + 4 - (char *)c->in));
	}
	return status;
}

void rig_connect(struct rig_client *c, int port, bool ws)
{
	if (ws) {
		CU_ASSERT_EQUAL_FATAL(rig_handshake(c, port), 101);
		return;
	}
	*c = (struct rig_client){.fd = dial_port(port)};
	CU_ASSERT_FATAL(c->fd >= 0);
}

void rig_connect_unix(struct rig_client *c, const char *path)
{
	*c = (struct rig_client){.fd = dial_path(path)};
	CU_ASSERT_FATAL(c->fd >= 0);
}

bool rig_can_connect(int port)
{
	int fd = dial_port(port);

	if (fd >= 0) {
		close(fd);
	}
	return fd >= 0;
}

void rig_disconnect(struct rig_client *c)
{
	if (c->fd >= 0) {
		close(c->fd);
	}
	free(c->in);
	free(c->packets);
	free(c->body);
	*c = (struct rig_client){.fd = -1};
}

void rig_reset(struct rig_client *c)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	rig_disconnect(c);
}

void rig_send_frame(struct rig_client *c, uint8_t first, const void *data, size_t len)
{
	static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
	uint8_t *frame = malloc(len + 14);
	size_t at = 2;

	frame[0] = first;
	if (len < 126) {
		frame[1] = (uint8_t)(0x80 | len);
	} else if (len < 65536) {
		frame[1] = 0x80 | 126;
		frame[at++] = (uint8_t)(len >> 8);
		frame[at++] = (uint8_t)len;
	} else {
		frame[1] = 0x80 | 127;
		for (int i = 7; i >= 0; i--) {
			frame[at++] = (uint8_t)((uint64_t)len >> (8 * i));
		}
	}
	memcpy(frame + at, mask, 4);
	at += 4;
	for (size_t i = 0; i < len; i++) {
		frame[at + i] = ((const uint8_t *)data)[i] ^ mask[i & 3];
	}
	rig_send_raw(c, frame, at + len);
	free(frame);
}

static void put32(uint8_t *to, uint32_t v)
{
	for (int i = 0; i < 4; i++) {
		to[i] = (uint8_t)(v >> (8 * i));
	}
}

static uint32_t get32(const uint8_t *from)
{
	return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

void rig_send_bytes(struct rig_client *c, uint32_t id, const void *body, size_t len)
{
	uint8_t *packet = calloc(1, len + 12);

	put32(packet, (uint32_t)len + 12);
	put32(packet + 4, id);
	if (len > 0) {
		memcpy(packet + 12, body, len);
	}
	if (c->ws) {
		rig_send_frame(c, 0x82, packet, len + 12);
	} else {
		rig_send_raw(c, packet, len + 12);
	}
	free(packet);
}

void rig_send(struct rig_client *c, uint32_t id, const char *body)
{
	char *text = strdup(body);

	quotes(text);
	rig_send_bytes(c, id, text, strlen(text));
	free(text);
}

static void take_control(struct rig_client *c, uint8_t op, const uint8_t *data, size_t len)
{
	switch (op) {
	case 8:
		c->close_seen = true;
		c->close_code = len >= 2 ? (uint16_t)(data[0] << 8 | data[1]) : 1005;
		snprintf(c->close_reason, sizeof(c->close_reason), "%.*s",
		         len > 2 ? (int)len - 2 : 0, (const char *)data + 2);
		return;
	case 9:
		c->pings++;
		return;
	case 10:
		c->pongs++;
		return;
	default:
		CU_FAIL("an opcode that no server sends");
	}
}

/* One frame from the front; its length, or 0 when it is not whole. */
static size_t take_frame(struct rig_client *c, const uint8_t *in, size_t in_len)
{
	size_t head = 2;

	if (in_len < 2) {
		return 0;
	}
	uint64_t len = in[1] & 0x7f;
	CU_ASSERT_EQUAL(in[1] & 0x80, 0); /* a server does not mask */
	CU_ASSERT_EQUAL(in[0] & 0xf0, 0x80);
	if (len >= 126) {
		size_t bytes = len == 126 ? 2 : 8;
		if (in_len < 2 + bytes) {
			return 0;
		}
		len = 0;
		for (size_t i = 0; i < bytes; i++) {
			len = len << 8 | in[2 + i];
		}
		head += bytes;
	}
	if (in_len < head + len) {
		return 0;
	}
	uint8_t op = in[0] & 15;
	if (op == 1 || op == 2) {
		append(&c->packets, &c->packets_len, in + head, len);
	} else {
		take_control(c, op, in + head, len);
	}
	return head + len;
}

void rig_pump(struct rig_client *c)
{
	size_t at = 0;
	size_t n;

	read_raw(c);
	if (!c->ws && c->in_len > 0) {
		append(&c->packets, &c->packets_len, c->in, c->in_len);
		c->in_len = 0;
	}
	while (c->ws && (n = take_frame(c, c->in + at, c->in_len - at)) > 0) {
		at += n;
	}
	if (at > 0) {
		consume(c->in, &c->in_len, at);
	}
}

static bool take_packet(struct rig_client *c)
{
	rig_pump(c);
	if (c->packets_len < 12) {
		return false;
	}
	uint32_t len = get32(c->packets);
	CU_ASSERT_FATAL(len >= 12);
	if (c->packets_len < len) {
		return false;
	}
	CU_ASSERT_EQUAL(get32(c->packets + 8), 0);
	c->id = get32(c->packets + 4);
	c->body_len = len - 12;
	free(c->body);
	c->body = malloc(c->body_len + 1);
	memcpy(c->body, c->packets + 12, c->body_len);
	c->body[c->body_len] = '\0';
	consume(c->packets, &c->packets_len, len);
	return true;
}

bool rig_recv(struct rig_client *c)
{
	bool got = false;

	(void)RIG_UNTIL((got = take_packet(c)) || c->eof || c->close_seen);
	return got;
}

json_t *rig_json(const char *text)
{
	char *copy = strdup(text);
	json_error_t err;

	quotes(copy);
	json_t *j = json_loads(copy, JSON_DECODE_ANY, &err);
	if (j == NULL) {
		printf("# the test's JSON: %s: %s\n", err.text, copy);
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(j);
	free(copy);
	return j;
}

bool rig_expect(struct rig_client *c, uint32_t id, const char *json)
{
	if (!rig_recv(c)) {
		printf("# no packet came (closed: %d %s)\n", c->close_code, c->close_reason);
		return false;
	}
	json_t *want = rig_json(json);
	json_t *got = json_loads(c->body, JSON_DECODE_ANY, NULL);
	bool same = c->id == id && json_equal(got, want);
	if (!same) {
		printf("# got id %u %s, expected %u %s\n", c->id, c->body, id, json);
	}
	json_decref(want);
	json_decref(got);
	return same;
}

bool rig_expect_error(struct rig_client *c, uint32_t id, int code, const char *text)
{
	if (!rig_recv(c)) {
		printf("# no packet came (closed: %d %s)\n", c->close_code, c->close_reason);
		return false;
	}
	json_t *got = json_loads(c->body, JSON_DECODE_ANY, NULL);
	const char *error = json_string_value(json_object_get(got, "error"));
	bool same = c->id == id && error != NULL &&
	            json_integer_value(json_object_get(got, "code")) == code &&
	            (text == NULL || strcmp(error, text) == 0);
	if (!same) {
		printf("# got id %u %s, expected %u code %d %s\n", c->id, c->body, id, code,
		       text != NULL ? text : "");
	}
	json_decref(got);
	return same;
}

bool rig_ask(struct rig_client *c, uint32_t id, const char *body, const char *json)
{
	rig_send(c, id, body);
	return rig_expect(c, id, json);
}

int rig_closed(struct rig_client *c)
{
	if (!RIG_UNTIL((rig_pump(c), c->eof || c->close_seen))) {
		return -1;
	}
	return c->close_seen ? c->close_code : 0;
}

bool rig_silent(struct rig_client *c)
{
	uint64_t end = ob__loop_hrtime_us() + 30000;

	while (ob__loop_hrtime_us() < end) {
		rig_turn();
		rig_pump(c);
	}
	if (c->packets_len > 0 || c->eof || c->close_seen) {
		printf("# expected silence: %zu bytes, eof %d, closed %d %s\n", c->packets_len,
		       c->eof, c->close_code, c->close_reason);
		return false;
	}
	return true;
}

/* ---------------------------------------------------------------- HTTP */

int rig_http_begin(int port, const char *method, const char *path, const char *headers,
                   const char *body)
{
	struct ob__buf b = {0};
	int fd = dial_port(port);

	CU_ASSERT_FATAL(fd >= 0);
	ob__buf_printf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s", method,
	               path, headers != NULL ? headers : "");
	if (body != NULL) {
		ob__buf_printf(&b, "Content-Length: %zu\r\n", strlen(body));
	}
	ob__buf_printf(&b, "\r\n");
	if (body != NULL) {
		char *text = strdup(body);
		quotes(text);
		ob__buf_append(&b, text, strlen(text));
		free(text);
	}
	write_all(fd, b.data, b.len);
	ob__buf_free(&b);
	return fd;
}

int rig_http_end(int fd, char **answer)
{
	struct rig_client c = {.fd = fd};
	int status = -1;

	(void)RIG_UNTIL((read_raw(&c), c.eof));
	char *end = c.in != NULL ? strstr((char *)c.in, "\r\n\r\n") : NULL;
	if (end != NULL && sscanf((char *)c.in, "HTTP/1.1 %d", &status) != 1) {
		status = -1;
	}
	if (answer != NULL) {
		*answer = strdup(end != NULL ? end + 4 : "");
	}
	rig_disconnect(&c);
	return status;
}

int rig_http(int port, const char *method, const char *path, const char *headers, const char *body,
             char **answer)
{
	return rig_http_end(rig_http_begin(port, method, path, headers, body), answer);
}

/* ---------------------------------------------------------------- administration */

struct admin_wait {
	int status;
	json_t *body;
	int calls;
};

static void admin_done(void *arg, const ob_admin_reply *reply)
{
	struct admin_wait *w = arg;

	w->calls++;
	w->status = reply->status;
	w->body = reply->text != NULL ? json_string(reply->text) : json_deep_copy(reply->body);
}

int rig_admin(struct rig_node *n, const char *verb, const char *args, json_t **body)
{
	struct admin_wait w = {.status = -1};

	ob__admin_run(n->node, verb, args != NULL ? rig_json(args) : NULL, admin_done, &w);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(w.calls > 0));
	CU_ASSERT_EQUAL(w.calls, 1);
	*body = w.body;
	return w.status;
}

static bool object_has(const json_t *whole, const json_t *part)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)part, key, value) {
		const json_t *got = json_object_get(whole, key);
		if (got == NULL || !rig_json_has(got, value)) {
			return false;
		}
	}
	return true;
}

bool rig_json_has(const json_t *whole, const json_t *part)
{
	if (json_is_object(part)) {
		return json_is_object(whole) && object_has(whole, part);
	}
	if (!json_is_array(part)) {
		return json_equal(whole, part);
	}
	if (!json_is_array(whole) || json_array_size(whole) != json_array_size(part)) {
		return false;
	}
	for (size_t i = 0; i < json_array_size(part); i++) {
		if (!rig_json_has(json_array_get(whole, i), json_array_get(part, i))) {
			return false;
		}
	}
	return true;
}

bool rig_admin_expect(struct rig_node *n, const char *verb, const char *args, int status,
                      const char *expected)
{
	json_t *body = NULL;
	json_t *want = rig_json(expected);
	int got = rig_admin(n, verb, args, &body);
	bool same = got == status && rig_json_has(body, want);

	if (!same) {
		char *dump = json_dumps(body, JSON_ENCODE_ANY | JSON_COMPACT);
		printf("# %s %s: %d %s, expected %d %s\n", verb, args != NULL ? args : "", got,
		       dump, status, expected);
		free(dump);
	}
	json_decref(body);
	json_decref(want);
	return same;
}
