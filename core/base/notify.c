/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define TEXT_MAX     200u
#define SEND_WAIT_US 200000

/* A path, or with '@' a name of the abstract namespace. */
static int parse_address(const char *text, struct sockaddr_un *addr, socklen_t *len)
{
	size_t n = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || text[1] == '\0') {
		return -EAFNOSUPPORT;
	}
	if (n >= sizeof(addr->sun_path)) {
		return -ENAMETOOLONG;
	}
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path, text, n);
	if (text[0] == '@') {
		addr->sun_path[0] = '\0';
	}
	/* The end of a name is where the length says, that of a path is a zero byte. */
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (text[0] == '/'));
	return 0;
}

/* A whole positive decimal number, or 0. */
static uint64_t parse_number(const char *text)
{
	char *end;

	if (text == NULL || *text < '0' || *text > '9') {
		return 0;
	}
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' ? value : 0;
}

/* How often a sign of life is due, if this process is the one that is watched. */
static uint64_t ping_interval(const char *usec, const char *pid)
{
	uint64_t us = parse_number(usec);

	if (us == 0 || (pid != NULL && parse_number(pid) != (uint64_t)getpid())) {
		return 0;
	}
	return us / 2000 != 0 ? us / 2000 : 1;
}

static int open_socket(void)
{
	struct timeval wait = {.tv_usec = SEND_WAIT_US};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		return -errno;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

int ob__notify_open(struct ob__notify *n)
{
	const char *address = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr;
	socklen_t len = 0;
	int rc = 0;

	memset(n, 0, sizeof(*n));
	if (address != NULL) {
		uint64_t ping_ms = ping_interval(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
		rc = parse_address(address, &addr, &len);
		if (rc == 0) {
			rc = open_socket();
		}
		if (rc >= 0) {
			*n = (struct ob__notify){
				.ping_ms = ping_ms, .fd = rc, .addr_len = len, .addr = addr};
			rc = 0;
		}
	}
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return rc;
}

static int send_text(const struct ob__notify *n, const char *text, size_t len, int flags)
{
	ssize_t sent;

	/* By address each time: a manager that was restarted in between gets it too. */
	do {
		sent = sendto(n->fd, text, len, flags | MSG_NOSIGNAL,
		              (const struct sockaddr *)&n->addr, n->addr_len);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

static void ping(void *arg)
{
	static const char text[] = "WATCHDOG=1\n";
	struct ob__notify *n = arg;

	/* One that is lost is no harm, the next one is due in time. */
	(void)send_text(n, text, sizeof(text) - 1, MSG_DONTWAIT);
	ob__timeout_set(n->loop, &n->ping, n->ping_ms);
}

void ob__notify_watch(struct ob__notify *n, struct ob__loop *loop)
{
	if (n->addr_len == 0 || n->ping_ms == 0) {
		return;
	}
	n->loop = loop;
	ob__timeout_init(&n->ping, ping, n);
	ping(n);
}

static size_t state_lines(enum ob__notify_state state, char *out, size_t cap)
{
	int len = 0;

	switch (state) {
	case OB__NOTIFY_SAME:
		break;
	case OB__NOTIFY_READY:
		len = snprintf(out, cap, "READY=1\n");
		break;
	case OB__NOTIFY_RELOADING:
		/* With the time the manager knows which request this one answers. */
		len = snprintf(out, cap, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n",
		               ob__loop_hrtime_us());
		break;
	case OB__NOTIFY_STOPPING:
		len = snprintf(out, cap, "STOPPING=1\n");
		break;
	}
	return len > 0 ? (size_t)len : 0;
}

int ob__notify_send(struct ob__notify *n, enum ob__notify_state state, const char *fmt, ...)
{
	char text[TEXT_MAX + 1];
	char message[sizeof(text) + 128];
	va_list args;

	if (n->addr_len == 0) {
		return 0;
	}
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *at = text; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f) {
			*at = ' ';
		}
	}
	size_t len = state_lines(state, message, sizeof(message));
	len += (size_t)snprintf(message + len, sizeof(message) - len, "STATUS=%s\n", text);
	return send_text(n, message, len, 0);
}

void ob__notify_close(struct ob__notify *n)
{
	if (n->addr_len == 0) {
		return;
	}
	if (n->loop != NULL) {
		ob__timeout_clear(n->loop, &n->ping);
	}
	close(n->fd);
	memset(n, 0, sizeof(*n));
}
