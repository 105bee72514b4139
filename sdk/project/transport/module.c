/*
 * @NAME@: a module for obhost. A transport: it makes the sockets for links between nodes.
 *
 * Copyright (c) @YEAR@ @AUTHOR@
 *
 * Its sockets are unix sockets with a name instead of a file (Linux). One node listens on a name,
 * another one dials it:
 *
 *     "rpc": {"listen": [{"transport": "@TRANSPORT@", "address": "room/7"}]}
 *     "remote_ports": [{"transport": "@TRANSPORT@", "address": "room/7"}]
 *
 * The node does the rest: it waits for the connection, proves who is there, encrypts if that is
 * configured, sends and reads. A socket is the node's from the moment it is handed over, so links
 * stay when the module is replaced.
 */

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <obhost/obhost.h>

/* What an address means; another transport is another one here, and in open_socket(). */
static int fill(struct sockaddr_un *addr, socklen_t *len, const char *address, ob_err *err)
{
	size_t n = strlen(address);

	if (n == 0 || n > sizeof(addr->sun_path) - 1) {
		return ob_err_set(err, "a name has 1 to %zu bytes", sizeof(addr->sun_path) - 1);
	}
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path + 1, address, n); /* behind a zero byte: no file */
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
	return 0;
}

/* Is that an address? Asked of each in a configuration, before it is used. */
static int check_address(ob_ctx *ctx, const char *address, ob_err *err)
{
	struct sockaddr_un addr;
	socklen_t len;

	return fill(&addr, &len, address, err);
}

/* Nobody may wait here: the node has one thread. */
static int open_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* What has gone wrong, for the log and GET /peers. */
static int fail(int fd, const char *what, const char *address, ob_err *err)
{
	int code = errno;

	if (fd >= 0) {
		close(fd);
	}
	ob_err_set(err, "%s: %s (%s)", address, what, strerror(code));
	return -code;
}

static int dial(ob_ctx *ctx, const char *address, int *fd, ob_err *err)
{
	struct sockaddr_un addr;
	socklen_t len;
	int rc = fill(&addr, &len, address, err);

	if (rc < 0) {
		return rc;
	}
	int s = open_socket();
	/* One that is still connecting will do: the node waits for it. */
	if (s < 0 || (connect(s, (const struct sockaddr *)&addr, len) < 0 && errno != EINPROGRESS)) {
		return fail(s, "nobody answers", address, err);
	}
	*fd = s;
	return 0;
}

/* A bound socket, on which the node listens. A transport that can only dial has none. */
static int bind_name(ob_ctx *ctx, const char *address, int *fd, ob_err *err)
{
	struct sockaddr_un addr;
	socklen_t len;
	int rc = fill(&addr, &len, address, err);

	if (rc < 0) {
		return rc;
	}
	int s = open_socket();
	if (s < 0 || bind(s, (const struct sockaddr *)&addr, len) < 0) {
		return fail(s, "can't be bound", address, err);
	}
	*fd = s;
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	const ob_transport transport = {
		.size = sizeof(transport),
		.flags = OB_TRANSPORT_LOCAL, /* its names mean something on this machine only */
		.name = "@TRANSPORT@",
		.dial = dial,
		.listen = bind_name,
		.check = check_address,
	};

	return ob_on_transport(ctx, &transport);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
