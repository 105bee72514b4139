/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/loop.h"

#define EVENTS    1024u /* of one turn; more come in the next */
#define STARVE_MS 10u   /* until a kernel without memory is asked again */
#define BROKEN    ((unsigned)EPOLLERR | (unsigned)EPOLLHUP)
#define BEHIND    ((unsigned)EPOLLRDHUP | (unsigned)EPOLLPRI) /* more, behind the bytes read first */
#define WANTS     ((unsigned)OB__SOCK_READ | (unsigned)OB__SOCK_WRITE)

_Static_assert((int)OB__SOCK_READ == (int)EPOLLIN && (int)OB__SOCK_WRITE == (int)EPOLLOUT,
               "as told");

struct ob__socks {
	uv_poll_t poll; /* of the epoll */
	uv_tcp_t ferry; /* has a socket only while it is accepted */
	uv_timer_t starved;
	ob__sock_ready ready;
	struct ob__sock **by_fd;
	uint32_t cap;
	uint32_t waiting; /* sockets that wait for something: as many reasons for the loop to run */
	int epoll;
	uint16_t serial;
	uint8_t handles; /* of libuv's that are open */
	struct epoll_event events[EVENTS];
};

/* ---- what is waited for ---- */

/* The kernel looks again whether something of it has happened already, and says so if it has. */
static int tell(struct ob__socks *set, struct ob__sock *k, uint8_t what)
{
	struct epoll_event event = {
		.events = what | BEHIND | EPOLLET,
		.data.u64 = (uint64_t)k->serial << 32 | (uint32_t)k->fd,
	};

	if (epoll_ctl(set->epoll, k->known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, k->fd, &event) < 0) {
		return -errno;
	}
	k->known = true;
	k->told = what & WANTS;
	k->missed = 0;
	return 0;
}

static void set_want(struct ob__socks *set, struct ob__sock *k, uint8_t want)
{
	bool waited = k->want != 0;

	k->want = want & WANTS;
	if (waited == (want != 0)) {
		return;
	}
	if (want != 0 && set->waiting++ == 0) {
		uv_ref((uv_handle_t *)&set->poll);
	} else if (want == 0 && --set->waiting == 0) {
		uv_unref((uv_handle_t *)&set->poll);
	}
}

/* There may have been room all the time, of which the kernel says nothing more. */
static void on_starved(uv_timer_t *timer)
{
	struct ob__socks *set = timer->data;
	struct ob__sock *k;

	for (uint32_t pos = 0; (k = ob__sock_next(set, &pos)) != NULL;) {
		if (k->starved && (k->want & OB__SOCK_WRITE) != 0) {
			(void)tell(set, k, k->told | k->want);
		}
		k->starved = false;
	}
}

int ob__sock_watch(struct ob__socks *set, struct ob__sock *k, enum ob__sock_event what, bool on)
{
	if (k->fd < 0) {
		return 0;
	}
	if (on && what == OB__SOCK_WRITE && k->starved &&
	    !uv_is_active((const uv_handle_t *)&set->starved)) {
		uv_timer_start(&set->starved, on_starved, STARVE_MS, 0);
	}
	set_want(set, k, (uint8_t)(on ? k->want | what : k->want & ~what));
	return on && ((k->told & what) == 0 || (k->missed & what) != 0)
	               ? tell(set, k, k->told | k->want)
	               : 0;
}

/* A callback may close any socket, and a new one may have its number. */
static struct ob__sock *meant(const struct ob__socks *set, const struct epoll_event *event)
{
	uint32_t fd = (uint32_t)event->data.u64;
	struct ob__sock *k = fd < set->cap ? set->by_fd[fd] : NULL;

	return k != NULL && k->serial == event->data.u64 >> 32 ? k : NULL;
}

/* Said once, so what is not taken now is to be asked for again: what nobody waits for, what is
 * behind the bytes that are read first, and the room of a socket that was moved by who read. */
static void on_event(struct ob__socks *set, const struct epoll_event *event)
{
	struct ob__sock *k = meant(set, event);
	const struct ob__sock *was = k;
	unsigned what = event->events;

	if (k == NULL) {
		return;
	}
	unsigned ready = (what & BROKEN) != 0 ? WANTS : what & WANTS;
	k->missed |= ready & ~k->want;
	if ((ready & k->want) == 0) {
		if ((k->told & ~k->want) != 0) {
			(void)tell(set, k, k->want);
		}
		return;
	}
	set->ready(k, ready & k->want);
	k = meant(set, event);
	if (k == NULL) {
		return;
	}
	if ((what & (BROKEN | BEHIND)) != 0) {
		k->missed |= ready;
	} else if (k != was) {
		k->missed |= ready & (unsigned)OB__SOCK_WRITE;
	}
	if ((k->missed & k->want) != 0) {
		(void)tell(set, k, k->told | k->want);
	}
}

static void on_poll(uv_poll_t *poll, int status, int uv_events)
{
	struct ob__socks *set = poll->data;
	int n = epoll_wait(set->epoll, set->events, EVENTS, 0);

	(void)status;
	(void)uv_events;
	for (int i = 0; i < n; i++) {
		on_event(set, &set->events[i]);
	}
}

/* ---- the set ---- */

static void on_closed(uv_handle_t *handle)
{
	struct ob__socks *set = handle->data;

	if (--set->handles == 0) {
		close(set->epoll);
		free(set->by_fd);
		free(set);
	}
}

struct ob__socks *ob__socks_new(struct ob__loop *loop, ob__sock_ready ready)
{
	struct ob__socks *set = calloc(1, sizeof(*set));

	if (set == NULL) {
		return NULL;
	}
	set->ready = ready;
	set->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (set->epoll < 0 || uv_poll_init(ob__loop_uv(loop), &set->poll, set->epoll) < 0) {
		if (set->epoll >= 0) {
			close(set->epoll);
		}
		free(set);
		return NULL;
	}
	uv_tcp_init(ob__loop_uv(loop), &set->ferry);
	uv_timer_init(ob__loop_uv(loop), &set->starved);
	set->poll.data = set;
	set->ferry.data = set;
	set->starved.data = set;
	set->handles = 3;
	uv_poll_start(&set->poll, UV_READABLE, on_poll);
	uv_unref((uv_handle_t *)&set->poll);
	return set;
}

void ob__socks_free(struct ob__socks *set)
{
	if (set != NULL) {
		uv_close((uv_handle_t *)&set->poll, on_closed);
		uv_close((uv_handle_t *)&set->ferry, on_closed);
		uv_close((uv_handle_t *)&set->starved, on_closed);
	}
}

/* ---- beginning ---- */

void ob__sock_init(struct ob__sock *k)
{
	*k = (struct ob__sock){.fd = -1};
}

bool ob__sock_is_open(const struct ob__sock *k)
{
	return k->fd >= 0;
}

static int make_room(struct ob__socks *set, uint32_t fd)
{
	if (fd < set->cap) {
		return 0;
	}
	uint32_t cap = fd + 64 + fd / 8;
	struct ob__sock **by_fd = realloc(set->by_fd, cap * sizeof(struct ob__sock *));
	if (by_fd == NULL) {
		return UV_ENOMEM;
	}
	memset(by_fd + set->cap, 0, (cap - set->cap) * sizeof(struct ob__sock *));
	set->by_fd = by_fd;
	set->cap = cap;
	return 0;
}

static int put(struct ob__socks *set, struct ob__sock *k, int fd, bool is_unix)
{
	int rc = make_room(set, (uint32_t)fd);

	if (rc == 0 && set->by_fd[fd] != NULL) {
		rc = UV_EEXIST;
	}
	if (rc == 0) {
		set->by_fd[fd] = k;
		*k = (struct ob__sock){.fd = fd, .serial = ++set->serial, .is_unix = is_unix};
	}
	return rc;
}

/* A socket of our own: put, or closed. */
static int keep(struct ob__socks *set, struct ob__sock *k, int fd, bool is_unix)
{
	int rc = put(set, k, fd, is_unix);

	if (rc != 0) {
		close(fd);
	}
	return rc;
}

static void set_nodelay(int fd)
{
	int on = 1;

	/* It fails only on a socket that reads will find broken. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* By way of a handle of libuv's, since its server goes on only after uv_accept(); the descriptor of
 * that handle is in its public header. */
int ob__sock_accept(struct ob__socks *set, struct ob__sock *k, uv_stream_t *server)
{
	int rc = uv_accept(server, (uv_stream_t *)&set->ferry);
	int fd = set->ferry.io_watcher.fd;

	if (rc < 0) {
		return rc;
	}
	set->ferry.io_watcher.fd = -1;
	return keep(set, k, fd, server->type == UV_NAMED_PIPE);
}

int ob__sock_take(struct ob__socks *set, struct ob__sock *k, int fd, bool is_unix)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 ||
	    ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)) {
		return -errno;
	}
	int rc = put(set, k, fd, is_unix);
	if (rc == 0) {
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		if (!is_unix) {
			set_nodelay(fd);
		}
	}
	return rc;
}

int ob__sock_connect(struct ob__socks *set, struct ob__sock *k, const struct sockaddr *addr,
                     const char *path)
{
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(local);
	int rc;

	if (addr == NULL) {
		strncpy(local.sun_path, path, sizeof(local.sun_path) - 1);
	} else {
		len = addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
		                                  : sizeof(struct sockaddr_in);
	}
	int fd = socket(addr != NULL ? addr->sa_family : AF_UNIX,
	                SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return -errno;
	}
	if (addr != NULL) {
		set_nodelay(fd);
	}
	do {
		rc = connect(fd, addr != NULL ? addr : (const struct sockaddr *)&local, len);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0 && errno != EINPROGRESS) {
		rc = -errno;
		close(fd);
		return rc;
	}
	rc = keep(set, k, fd, addr == NULL);
	if (rc == 0 && (rc = ob__sock_watch(set, k, OB__SOCK_WRITE, true)) != 0) {
		ob__sock_close(set, k, false);
	}
	return rc;
}

int ob__sock_connected(const struct ob__sock *k)
{
	struct sockaddr_storage addr;
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) {
		return -errno;
	}
	return error != 0 ? -error : ob__sock_peer(k, &addr);
}

/* ---- bytes ---- */

/* A local peer may pass descriptors, which are thrown away; a read ends behind one. */
static ssize_t recv_local(int fd, void *buf, size_t cap, bool *is_short)
{
	struct iovec iov = {.iov_base = buf, .iov_len = cap};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = recvmsg(fd, &msg, 0);

	*is_short = n > 0 && (msg.msg_flags & MSG_CTRUNC) != 0;
	return n;
}

/* recv() and send() are a tenth of a message's price cheaper than read() and write(), which ask
 * about files first. */
ssize_t ob__sock_read(struct ob__sock *k, void *buf, size_t cap)
{
	bool is_short = false;
	ssize_t n;

	do {
		n = k->is_unix ? recv_local(k->fd, buf, cap, &is_short) : recv(k->fd, buf, cap, 0);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)cap || is_short) {
		k->missed |= OB__SOCK_READ;
	}
	return n < 0 ? -errno : n;
}

static ssize_t send_all(int fd, const uv_buf_t *bufs, unsigned n)
{
	if (n == 1) {
		return send(fd, bufs->base, bufs->len, MSG_NOSIGNAL);
	}
	struct msghdr msg = {.msg_iov = (struct iovec *)bufs, .msg_iovlen = n};
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

ssize_t ob__sock_write(struct ob__sock *k, const uv_buf_t *bufs, unsigned n)
{
	ssize_t done;

	_Static_assert(sizeof(uv_buf_t) == sizeof(struct iovec), "it is one");
	do {
		done = send_all(k->fd, bufs, n);
	} while (done < 0 && errno == EINTR);
	if (done >= 0) {
		return done;
	}
	if (errno == ENOBUFS) {
		k->starved = true;
		return UV_EAGAIN;
	}
	return -errno;
}

int ob__sock_shut(struct ob__sock *k)
{
	return shutdown(k->fd, SHUT_WR) < 0 ? -errno : 0;
}

/* A kernel with large buffers asks for more long after it has got rid of some. */
size_t ob__sock_unsent(const struct ob__sock *k)
{
	int bytes = 0;

	return k->fd >= 0 && ioctl(k->fd, TIOCOUTQ, &bytes) == 0 ? (size_t)bytes : 0;
}

int ob__sock_peer(const struct ob__sock *k, struct sockaddr_storage *out)
{
	socklen_t len = sizeof(*out);

	return k->fd < 0                                              ? UV_ENOTCONN
	       : getpeername(k->fd, (struct sockaddr *)out, &len) < 0 ? -errno
	                                                              : 0;
}

/* ---- the end ---- */

void ob__sock_move(struct ob__socks *set, struct ob__sock *into, struct ob__sock *from)
{
	*into = *from;
	set->by_fd[into->fd] = into;
	ob__sock_init(from);
	set_want(set, into, into->want & OB__SOCK_WRITE);
}

void ob__sock_release(struct ob__socks *set, struct ob__sock *k)
{
	if (k->fd < 0) {
		return;
	}
	set_want(set, k, 0);
	if (k->known) { /* a child of ours may have it open as well */
		(void)epoll_ctl(set->epoll, EPOLL_CTL_DEL, k->fd, NULL);
	}
	set->by_fd[k->fd] = NULL;
	ob__sock_init(k);
}

void ob__sock_close(struct ob__socks *set, struct ob__sock *k, bool reset)
{
	struct linger linger = {.l_onoff = 1};
	int fd = k->fd;

	if (fd < 0) {
		return;
	}
	ob__sock_release(set, k);
	if (reset) {
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	close(fd);
}

struct ob__sock *ob__sock_next(const struct ob__socks *set, uint32_t *pos)
{
	while (*pos < set->cap) {
		struct ob__sock *k = set->by_fd[(*pos)++];
		if (k != NULL) {
			return k;
		}
	}
	return NULL;
}
