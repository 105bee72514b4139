/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stream_priv.h"

/* A socket that becomes writable, or fails: outlives its stream until libuv lets go of it. */
struct ob__stream_dial {
	uv_poll_t poll;
	struct ob__stream *s; /* NULL: over */
	ob__stream_connect_cb cb;
	int fd;
};

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

/* What has become of connect(). */
static int outcome(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int err = option(fd, SO_ERROR);
	if (err != 0) {
		return err > 0 ? -err : err;
	}
	return getpeername(fd, (struct sockaddr *)&addr, &len) < 0 ? -errno : 0;
}

static int take(struct ob__stream *s, int fd)
{
	if (s->uv.handle.type == UV_NAMED_PIPE) {
		return uv_pipe_open(&s->uv.pipe, fd);
	}
	int err = uv_tcp_open(&s->uv.tcp, fd);
	if (err == 0) {
		uv_tcp_nodelay(&s->uv.tcp, 1);
	}
	return err;
}

static void free_dial(uv_handle_t *handle)
{
	free(handle->data);
}

static void let_go(struct ob__stream_dial *d)
{
	d->s->fd_dial = NULL;
	d->s = NULL;
	uv_poll_stop(&d->poll);
	uv_close((uv_handle_t *)&d->poll, free_dial);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct ob__stream_dial *d = poll->data;
	struct ob__stream *s = d->s;
	ob__stream_connect_cb cb = d->cb;
	(void)status; /* the socket says it better */
	(void)events;
	int fd = d->fd;
	let_go(d);
	int err = outcome(fd);
	if (err == 0) {
		err = take(s, fd);
	}
	if (err < 0) {
		close(fd);
	}
	ob__stream_connected(s, err, cb);
}

void ob__stream_forget_fd(struct ob__stream *s)
{
	int fd = s->fd_dial->fd;
	let_go(s->fd_dial);
	close(fd);
}

int ob__stream_connect_fd(struct ob__stream *s, int fd, ob__stream_connect_cb cb)
{
	int is_tcp = ob__stream_socket(fd);
	if (is_tcp < 0) {
		return is_tcp;
	}
	struct ob__stream_dial *d = malloc(sizeof(*d));
	if (!d) {
		return -ENOMEM;
	}
	int err = uv_poll_init(ob__loop_uv(s->m->loop), &d->poll, fd);
	if (err < 0) {
		free(d);
		return err;
	}
	d->poll.data = d;
	d->s = s;
	d->cb = cb;
	d->fd = fd;
	s->fd_dial = d;
	err = ob__stream_open_handle(s, is_tcp == 0);
	if (err == 0) {
		err = uv_poll_start(&d->poll, UV_WRITABLE, on_ready);
	}
	if (err < 0) {
		let_go(d);
		return err;
	}
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	s->connecting = true;
	return 0;
}

int ob__stream_take_fd(struct ob__stream *s, int fd)
{
	int is_tcp = ob__stream_socket(fd);
	if (is_tcp < 0) {
		return is_tcp;
	}
	int err = ob__stream_open_handle(s, is_tcp == 0);
	if (err == 0) {
		err = take(s, fd);
	}
	if (err == 0) {
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	return err;
}
