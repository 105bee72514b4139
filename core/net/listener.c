/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define BATCH         64u  /* connections per turn */
#define BACKLOG       4096 /* if the system allows as many (net.core.somaxconn) */
#define FD_RESERVE    16   /* descriptors kept for everything else */
#define FULL_PAUSE_MS 100u

struct ob__listener {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	struct ob__loop *loop;
	ob__listener_cb cb;
	void *arg;
	struct ob__timeout resume; /* ends the pause for lack of descriptors */
	int backlog;
	int port;
	int fd;
	bool pipe;    /* it is no socket of TCP */
	bool started; /* uv_listen() was called; it is never undone */
	bool paused;
	bool waiting; /* libuv holds a connection and does not poll until it is taken */
	bool full;    /* that connection is to be turned away */
	bool closing;
	bool deferred; /* on_next_turn() is to come */
	bool closed;   /* and frees */
	uint64_t turn; /* loop time of the batch */
	unsigned in_turn;
	rlim_t fds; /* that may be open, as of the batch's begin */
	uint64_t accepted;
	uint64_t refused;
	struct ob__log_limit limit;
	struct stat path_stat; /* what we made, so that nothing else is unlinked */
	char *path;
	char name[128];
};

/* ---------------------------------------------------------------- binding */

static const char *why(int err)
{
	switch (err) {
	case EADDRINUSE:
		return "address in use; is another node running on it?";
	case EACCES:
		return "permission denied; ports below 1024 need a privilege";
	case EADDRNOTAVAIL:
		return "this machine has no such address";
	default:
		return strerror(err);
	}
}

static int fail(char *err, size_t err_cap, const char *where, const char *reason, int code)
{
	snprintf(err, err_cap, "%s: %s", where, reason);
	return code < 0 ? code : -EIO;
}

static int bind_address(const struct addrinfo *ai, const struct ob__listener_options *options)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return -1;
	}
	int on = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	}
	if ((options->reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
	    listen(fd, options->backlog > 0 ? options->backlog : BACKLOG) < 0) {
		int err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

static int bind_tcp(const struct ob__listener_options *options, char *err, size_t err_cap)
{
	char where[160];
	char service[16];
	const char *host = options->host ? options->host : "127.0.0.1";
	snprintf(where, sizeof(where), strchr(host, ':') ? "[%s]:%d" : "%s:%d", host,
	         options->port);
	if (options->port < 0 || options->port > 65535) {
		return fail(err, err_cap, where, "no such port", -EINVAL);
	}
	snprintf(service, sizeof(service), "%d", options->port);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *list;
	int rc = getaddrinfo(host, service, &hints, &list);
	if (rc != 0) {
		return fail(err, err_cap, where, gai_strerror(rc), -EADDRNOTAVAIL);
	}
	int fd = -1;
	int first = 0; /* the first address is the one that was meant */
	for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
		fd = bind_address(ai, options);
		if (fd < 0 && first == 0) {
			first = errno;
		}
	}
	freeaddrinfo(list);
	return fd < 0 ? fail(err, err_cap, where, why(first), -first) : fd;
}

/* Takes a dead socket of ours out of the way. NULL, or why the path can't be used, and the code. */
static const char *clear_path(const struct sockaddr_un *addr, int *code)
{
	struct stat st;
	if (lstat(addr->sun_path, &st) < 0) {
		*code = -errno;
		return errno == ENOENT ? NULL : strerror(errno);
	}
	if (!S_ISSOCK(st.st_mode)) {
		*code = -ENOTSOCK;
		return "exists and is not a socket";
	}
	if (st.st_uid != geteuid()) {
		*code = -EPERM;
		return "is a socket of another user";
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		*code = -errno;
		return strerror(errno);
	}
	int err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? errno : 0;
	close(fd);
	if (err != ECONNREFUSED) {
		*code = -EADDRINUSE;
		return "in use; is another node running on it?";
	}
	*code = unlink(addr->sun_path) < 0 ? -errno : 0;
	return *code < 0 ? strerror(-*code) : NULL;
}

static int bind_unix(const struct ob__listener_options *options, char *err, size_t err_cap)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	if (strlen(options->path) >= sizeof(addr.sun_path)) {
		return fail(err, err_cap, options->path, "longer than a unix socket's path may be",
		            -ENAMETOOLONG);
	}
	strcpy(addr.sun_path, options->path);
	int code = 0;
	const char *reason = clear_path(&addr, &code);
	if (reason) {
		return fail(err, err_cap, options->path, reason, code);
	}
	mode_t mode = (mode_t)(options->mode != 0 ? options->mode : 0600);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* On Linux bind() gives the file the mode of the socket: there is no moment in which others
	 * could connect.  chmod() adds what the umask took away. */
	if (fd < 0 || fchmod(fd, mode) < 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    chmod(addr.sun_path, mode) < 0 ||
	    listen(fd, options->backlog > 0 ? options->backlog : BACKLOG) < 0) {
		code = fail(err, err_cap, options->path, strerror(errno), -errno);
		if (fd >= 0) {
			close(fd);
		}
		return code;
	}
	return fd;
}

/* ---------------------------------------------------------------- opening */

static void name_tcp(struct ob__listener *l)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	char host[INET6_ADDRSTRLEN] = "";
	getsockname(l->fd, (struct sockaddr *)&addr, &len);
	if (addr.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr;
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		l->port = ntohs(in6->sin6_port);
		snprintf(l->name, sizeof(l->name), "[%s]:%d", host, l->port);
		return;
	}
	const struct sockaddr_in *in = (const struct sockaddr_in *)&addr;
	inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
	l->port = ntohs(in->sin_port);
	snprintf(l->name, sizeof(l->name), "%s:%d", host, l->port);
}

static void on_pause_over(void *arg);
static void unlink_path(const struct ob__listener *l);

/* The socket becomes libuv's. */
static int wrap(struct ob__listener *l)
{
	uv_loop_t *loop = ob__loop_uv(l->loop);
	int rc;
	if (l->pipe) {
		uv_pipe_init(loop, &l->uv.pipe, 0);
		rc = uv_pipe_open(&l->uv.pipe, l->fd);
	} else {
		uv_tcp_init(loop, &l->uv.tcp);
		rc = uv_tcp_open(&l->uv.tcp, l->fd);
	}
	l->uv.handle.data = l;
	if (rc == 0 && !l->pipe) {
		int on = 1; /* what is accepted has it from here, without being told one by one */
		(void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return rc;
}

static void on_closed(uv_handle_t *handle)
{
	struct ob__listener *l = handle->data;
	l->closed = true;
	if (!l->deferred) {
		free(l->path);
		free(l);
	}
}

static int refuse_given(const struct ob__listener_options *o, int code, char *err, size_t err_cap)
{
	return fail(err, err_cap, o->name,
	            code == -ESOCKTNOSUPPORT ? "is no stream socket" : uv_strerror(code), code);
}

/* libuv's first, which says whether it has it already. */
static int take_given(struct ob__listener *l, const struct ob__listener_options *o, char *err,
                      size_t err_cap)
{
	int is_tcp = ob__stream_socket(o->fd);
	if (is_tcp < 0) {
		return refuse_given(o, is_tcp, err, err_cap);
	}
	l->pipe = is_tcp == 0;
	l->fd = o->fd;
	snprintf(l->name, sizeof(l->name), "%s", o->name);
	int rc = wrap(l);
	if (rc == 0) {
		(void)fcntl(l->fd, F_SETFD, FD_CLOEXEC);
		rc = listen(l->fd, l->backlog) < 0 ? -errno : 0;
	}
	if (rc < 0) {
		refuse_given(o, rc, err, err_cap);
		l->closing = true;
		uv_close(&l->uv.handle, on_closed);
	}
	return rc;
}

/* The same for a socket of somebody else's. */
static struct ob__listener *open_given(struct ob__listener *l,
                                       const struct ob__listener_options *options, char *err,
                                       size_t err_cap)
{
	int rc = take_given(l, options, err, err_cap);
	if (rc == 0) {
		return l;
	}
	if (options->code) {
		*options->code = rc;
	}
	if (!l->closing) {
		free(l);
	}
	return NULL;
}

struct ob__listener *ob__listener_open(struct ob__loop *loop,
                                       const struct ob__listener_options *options,
                                       ob__listener_cb cb, void *arg, char *err, size_t err_cap)
{
	struct ob__listener *l = calloc(1, sizeof(*l));
	char *path = options->path ? strdup(options->path) : NULL;
	int rc = -ENOMEM;
	if (!l || (options->path && !path)) {
		snprintf(err, err_cap, "out of memory");
		if (options->name) {
			close(options->fd);
		}
		goto out;
	}
	*l = (struct ob__listener){.loop = loop, .cb = cb, .arg = arg, .path = path};
	l->backlog = options->backlog > 0 ? options->backlog : BACKLOG;
	l->pipe = path != NULL;
	ob__timeout_init(&l->resume, on_pause_over, l);
	if (options->name) {
		return open_given(l, options, err, err_cap);
	}
	l->fd = path ? bind_unix(options, err, err_cap) : bind_tcp(options, err, err_cap);
	if (l->fd < 0) {
		rc = l->fd;
		goto out;
	}
	if (path) {
		snprintf(l->name, sizeof(l->name), "%s", path);
		lstat(path, &l->path_stat);
	} else {
		name_tcp(l);
	}
	rc = wrap(l);
	if (rc < 0) {
		fail(err, err_cap, l->name, uv_strerror(rc), rc);
		close(l->fd);
		unlink_path(l);
		uv_close(&l->uv.handle, on_closed);
		if (options->code) {
			*options->code = rc;
		}
		return NULL;
	}
	return l;

out:
	if (options->code) {
		*options->code = rc;
	}
	free(path);
	free(l);
	return NULL;
}

/* ---------------------------------------------------------------- accepting */

/* The connection that libuv holds.  A field of libuv's that is in its public header since 0.x;
 * nothing else says whether the callback has taken the connection. */
static int held(const struct ob__listener *l)
{
	return l->uv.stream.accepted_fd;
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

/* Takes the held connection and closes it.  False when out of memory; then it stays held. */
static bool turn_away(struct ob__listener *l)
{
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} *uv = malloc(sizeof(*uv));
	if (!uv) {
		return false;
	}
	if (l->pipe) {
		uv_pipe_init(ob__loop_uv(l->loop), &uv->pipe, 0);
	} else {
		uv_tcp_init(ob__loop_uv(l->loop), &uv->tcp);
	}
	if (uv_accept(&l->uv.stream, &uv->stream) == 0) {
		l->refused++;
	}
	uv_close(&uv->handle, free_handle);
	return true;
}

/* How many descriptors there may be.  It can be changed from outside, so it is asked for again, but
 * not for each of many connections. */
static rlim_t descriptors(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? RLIM_INFINITY : limit.rlim_cur;
}

/* True when the descriptors that are left are those for everything else: numbers are given out
 * lowest first. */
static bool out_of_descriptors(const struct ob__listener *l, int fd)
{
	return l->fds != RLIM_INFINITY && fd >= 0 && (rlim_t)fd + FD_RESERVE >= l->fds;
}

/* Others may have been closed since that one came. */
static bool room_again(struct ob__listener *l)
{
	int lowest = fcntl(held(l), F_DUPFD_CLOEXEC, 0);
	if (lowest < 0) {
		return false;
	}
	close(lowest);
	l->fds = descriptors();
	return !out_of_descriptors(l, lowest);
}

static void say_full(struct ob__listener *l)
{
	uint32_t missed;
	if (ob__log_allow(&l->limit, 1, ob__loop_now(l->loop), &missed)) {
		ob__warning("listener",
		            "%s: turning callers away (out of file descriptors; raise the limit, "
		            "e.g. LimitNOFILE=), %llu so far",
		            l->name, (unsigned long long)l->refused);
	}
}

static void take_one(struct ob__listener *l);

static void on_next_turn(void *arg)
{
	struct ob__listener *l = arg;
	l->deferred = false;
	if (l->closed) {
		free(l->path);
		free(l);
		return;
	}
	l->in_turn = 0;
	if (l->waiting && !l->full && !l->closing) {
		take_one(l);
	}
}

static void wait_a_moment(struct ob__listener *l)
{
	l->waiting = true;
	l->full = true;
	ob__timeout_set(l->loop, &l->resume, FULL_PAUSE_MS);
}

static void wait_a_turn(struct ob__listener *l)
{
	if (l->deferred) {
		return;
	}
	l->deferred = ob__loop_defer(l->loop, on_next_turn, l) == 0;
	if (!l->deferred) {
		wait_a_moment(l);
	}
}

static bool batch_full(struct ob__listener *l)
{
	uint64_t now = ob__loop_now(l->loop);
	if (now != l->turn) {
		l->turn = now;
		l->in_turn = 0;
	}
	if (l->in_turn == 0) {
		l->fds = descriptors();
	}
	return l->in_turn >= BATCH;
}

static void hand_over(struct ob__listener *l)
{
	l->waiting = false;
	l->accepted++;
	l->cb(l, &l->uv.stream, l->arg);
	if (!l->closing && held(l) >= 0 && !turn_away(l)) {
		wait_a_moment(l);
	}
}

/* A connection is held.  Leaving it held stops libuv from accepting more. */
static void take_one(struct ob__listener *l)
{
	l->waiting = true;
	if (l->paused) {
		return;
	}
	if (batch_full(l)) {
		wait_a_turn(l);
		return;
	}
	if (out_of_descriptors(l, held(l))) {
		wait_a_moment(l);
		return;
	}
	l->in_turn++;
	hand_over(l);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct ob__listener *l = server->data;
	if (l->closing) {
		return;
	}
	if (status < 0) {
		/* libuv itself keeps a descriptor in reserve, and turns callers away with it when
		 * ours were not enough. */
		l->refused++;
		say_full(l);
		return;
	}
	take_one(l);
}

static void on_pause_over(void *arg)
{
	struct ob__listener *l = arg;
	l->full = false;
	if (held(l) >= 0 && room_again(l)) {
		l->waiting = l->paused;
		if (!l->paused) {
			hand_over(l);
		}
		return;
	}
	l->waiting = false;
	if (held(l) < 0) {
		return;
	}
	if (turn_away(l)) {
		say_full(l);
	} else {
		wait_a_moment(l);
	}
}

int ob__listener_start(struct ob__listener *l)
{
	l->paused = false;
	if (!l->started) {
		int rc = uv_listen(&l->uv.stream, l->backlog, on_connection);
		if (rc < 0) {
			return rc;
		}
		l->started = true;
		return 0;
	}
	if (l->waiting && !l->full) {
		wait_a_turn(l);
	}
	return 0;
}

void ob__listener_pause(struct ob__listener *l)
{
	l->paused = true;
}

/* ---------------------------------------------------------------- the rest */

static void unlink_path(const struct ob__listener *l)
{
	struct stat st;
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->path_stat.st_dev &&
	    st.st_ino == l->path_stat.st_ino) {
		unlink(l->path);
	}
}

void ob__listener_close(struct ob__listener *l)
{
	if (!l || l->closing) {
		return;
	}
	l->closing = true;
	ob__timeout_clear(l->loop, &l->resume);
	unlink_path(l);
	uv_close(&l->uv.handle, on_closed);
}

int ob__listener_port(const struct ob__listener *l)
{
	return l->port;
}

const char *ob__listener_name(const struct ob__listener *l)
{
	return l->name;
}

uint64_t ob__listener_accepted(const struct ob__listener *l)
{
	return l->accepted;
}

uint64_t ob__listener_refused(const struct ob__listener *l)
{
	return l->refused;
}
