/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example transport_abstract: a transport for links.  Abstract unix sockets (Linux): names instead
 * of files, which need no folder that both nodes may write to, and go with the process.  One node
 * listens on a name, another one dials it:
 *
 *     "rpc": {"listen": [{"transport": "abstract", "address": "game/route_1"}]}
 *     "remote_ports": [{"transport": "abstract", "address": "game/route_1"}]
 *
 * Any program of this machine (and network namespace) may connect to such a name, as to a port on
 * loopback: what keeps it out is the token.
 */

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <obhost/obhost.h>

/* The name begins after a zero byte, and ends where the length says. */
static int fill(struct sockaddr_un *addr, socklen_t *len, const char *address, ob_err *err)
{
	size_t n = strlen(address);

	if (n == 0 || n > sizeof(addr->sun_path) - 1) {
		return ob_err_set(err, "a name has 1 to %zu bytes", sizeof(addr->sun_path) - 1);
	}
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(addr->sun_path + 1, address, n);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
	return 0;
}

static int check(ob_ctx *ctx, const char *address, ob_err *err)
{
	struct sockaddr_un addr;
	socklen_t len;

	(void)ctx;
	return fill(&addr, &len, address, err);
}

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

	(void)ctx;
	if (rc < 0) {
		return rc;
	}
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0) {
		return fail(s, "no socket", address, err);
	}
	/* Of TCP it would be EINPROGRESS now, which is as good: the host waits. */
	if (connect(s, (const struct sockaddr *)&addr, len) < 0 && errno != EINPROGRESS) {
		return fail(s, "nobody answers", address, err);
	}
	*fd = s;
	return 0;
}

static int bind_name(ob_ctx *ctx, const char *address, int *fd, ob_err *err)
{
	struct sockaddr_un addr;
	socklen_t len;
	int rc = fill(&addr, &len, address, err);

	(void)ctx;
	if (rc < 0) {
		return rc;
	}
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0 || bind(s, (const struct sockaddr *)&addr, len) < 0) {
		return fail(s, "can't be bound", address, err);
	}
	*fd = s;
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	const ob_transport abstract = {
		.size = sizeof(abstract),
		.flags = OB_TRANSPORT_LOCAL,
		.name = "abstract",
		.dial = dial,
		.listen = bind_name,
		.check = check,
	};

	(void)conf;
	return ob_on_transport(ctx, &abstract);
}

OB_MODULE(transport_abstract, .version = "1.0.0", .start = start);
