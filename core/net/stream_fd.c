/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/stream_priv.h"

static int option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -errno : value;
}

int ob__stream_socket(int fd)
{
	int type = option(fd, SO_TYPE);
	if (type < 0) {
		return type;
	}
	if (type != SOCK_STREAM) {
		return -ESOCKTNOSUPPORT;
	}
	int family = option(fd, SO_DOMAIN);
	return family == AF_INET || family == AF_INET6;
}

int ob__stream_connect_fd(struct ob__stream *s, int fd, ob__stream_connect_cb cb)
{
	int is_tcp = ob__stream_socket(fd);
	if (is_tcp < 0) {
		return is_tcp;
	}
	struct ob__socks *socks = s->m->socks;
	struct ob__stream_dial *dial = ob__stream_dial_new(s, cb);
	if (!dial) {
		return -ENOMEM;
	}
	int err = ob__sock_take(socks, &s->sock, fd, is_tcp == 0);
	if (err == 0) {
		err = ob__sock_watch(socks, &s->sock, OB__SOCK_WRITE, true);
		if (err < 0) {
			ob__sock_release(socks, &s->sock);
		}
	}
	if (err < 0) {
		free(dial);
		s->dial = NULL;
		return err;
	}
	ob__stream_opened(s, is_tcp == 0);
	s->connecting = true;
	return 0;
}

int ob__stream_take_fd(struct ob__stream *s, int fd)
{
	int is_tcp = ob__stream_socket(fd);
	if (is_tcp < 0) {
		return is_tcp;
	}
	int err = ob__sock_take(s->m->socks, &s->sock, fd, is_tcp == 0);
	if (err == 0) {
		ob__stream_opened(s, is_tcp == 0);
	}
	return err;
}
