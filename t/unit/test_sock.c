/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* What is said of a socket, and how often: with the kernel's sockets, one end of each ours. */

#include "net/sock.h"

#include <CUnit/CUnit.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "net_util.h"
#include "tap.h"

static struct ob__loop *loop;
static struct ob__socks *set;
static struct ob__sock ours;
static int theirs;
static size_t got;       /* bytes that were read */
static unsigned rooms;   /* how often there was room */
static unsigned starved; /* so many times send() finds the kernel without memory */

/* In the place of the C library's. */
ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	if (starved > 0) {
		starved--;
		errno = ENOBUFS;
		return -1;
	}
	return syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
}

/* Reads once, as streams do. */
static void on_ready(struct ob__sock *k, unsigned events)
{
	char buf[4096];

	if ((events & OB__SOCK_READ) != 0) {
		ssize_t n = ob__sock_read(k, buf, sizeof(buf));
		got += n > 0 ? (size_t)n : 0;
	}
	rooms += (events & OB__SOCK_WRITE) != 0;
}

static void up(bool is_unix)
{
	int fds[2];

	got = 0;
	rooms = 0;
	if (is_unix) {
		CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	} else {
		struct sockaddr_in addr = net_addr(0);
		socklen_t len = sizeof(addr);
		int l = socket(AF_INET, SOCK_STREAM, 0);
		CU_ASSERT_EQUAL_FATAL(bind(l, (struct sockaddr *)&addr, len), 0);
		CU_ASSERT_EQUAL_FATAL(listen(l, 1), 0);
		CU_ASSERT_EQUAL_FATAL(getsockname(l, (struct sockaddr *)&addr, &len), 0);
		fds[1] = net_dial_port(ntohs(addr.sin_port), 0);
		fds[0] = accept(l, NULL, NULL);
		close(l);
	}
	theirs = fds[1];
	loop = ob__loop_new();
	set = ob__socks_new(loop, on_ready);
	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	ob__sock_init(&ours);
	CU_ASSERT_EQUAL_FATAL(ob__sock_take(set, &ours, fds[0], is_unix), 0);
}

static void down(void)
{
	ob__sock_close(set, &ours, false);
	ob__socks_free(set);
	ob__loop_turn(loop);
	CU_ASSERT_EQUAL(ob__loop_free(loop), 0);
	close(theirs);
}

static void watch(enum ob__sock_event what, bool on)
{
	CU_ASSERT_EQUAL(ob__sock_watch(set, &ours, what, on), 0);
}

static ssize_t put(const char *text)
{
	uv_buf_t buf = uv_buf_init((char *)text, (unsigned)strlen(text));

	return ob__sock_write(&ours, &buf, 1);
}

/* Would the loop's poll come back at once? */
static bool wakes(void)
{
	struct pollfd fd = {.fd = uv_backend_fd(ob__loop_uv(loop)), .events = POLLIN};
	bool yes = poll(&fd, 1, 0) == 1;

	ob__loop_turn(loop);
	return yes;
}

static bool reads(size_t bytes)
{
	for (int i = 0; i < 200 && got < bytes; i++) {
		ob__loop_turn(loop);
		usleep(1000);
	}
	return got == bytes;
}

/* Until the kernel takes no more, and then until there is room. */
static void block_and_go_on(void)
{
	char buf[65536] = "";

	while (put("0123456789012345678901234567890123456789") > 0) {
	}
	watch(OB__SOCK_WRITE, true);
	while (recv(theirs, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
	}
	for (int i = 0; i < 200 && rooms == 0; i++) {
		ob__loop_turn(loop);
		usleep(1000);
	}
	CU_ASSERT_EQUAL(rooms, 1);
	watch(OB__SOCK_WRITE, false);
}

static void test_room_is_not_told_for_ever(void)
{
	char buf[16];
	unsigned woken = 0;

	for (int is_unix = 0; is_unix < 2; is_unix++) {
		up(is_unix);
		watch(OB__SOCK_READ, true);
		block_and_go_on();
		for (int i = 0; i < 50; i++) {
			CU_ASSERT_EQUAL(put("x"), 1);
			usleep(200);
			CU_ASSERT_EQUAL(recv(theirs, buf, sizeof(buf), 0), 1);
			woken += wakes();
		}
		CU_ASSERT_TRUE(woken <= 2);
		CU_ASSERT_EQUAL(send(theirs, "abc", 3, 0), 3);
		CU_ASSERT_TRUE(reads(3));
		block_and_go_on();
		down();
	}
}

/* One who has stopped is told once, and when he goes on. */
static void test_a_pause(void)
{
	unsigned woken = 0;

	for (int is_unix = 0; is_unix < 2; is_unix++) {
		up(is_unix);
		watch(OB__SOCK_READ, true);
		CU_ASSERT_EQUAL(send(theirs, "abc", 3, 0), 3);
		CU_ASSERT_TRUE(reads(3));
		watch(OB__SOCK_READ, false);
		for (int i = 0; i < 50; i++) {
			CU_ASSERT_EQUAL(send(theirs, "x", 1, 0), 1);
			usleep(200);
			woken += wakes();
		}
		CU_ASSERT_TRUE(woken <= 4);
		CU_ASSERT_EQUAL(got, 3);
		watch(OB__SOCK_READ, true);
		CU_ASSERT_TRUE(reads(53));
		down();
	}
}

/* A read ends where one begins; nothing is said again of what is behind it. */
static void test_urgent(void)
{
	up(false);
	watch(OB__SOCK_READ, true);
	CU_ASSERT_EQUAL(send(theirs, "abc", 3, 0), 3);
	CU_ASSERT_EQUAL(send(theirs, "!", 1, MSG_OOB), 1);
	CU_ASSERT_EQUAL(send(theirs, "defg", 4, 0), 4);
	usleep(20000);
	CU_ASSERT_TRUE(reads(7)); /* the urgent byte is not among them */
	down();
}

static void send_with_descriptor(const char *text)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &theirs, sizeof(int));
	CU_ASSERT_EQUAL(sendmsg(theirs, &msg, 0), (ssize_t)strlen(text));
}

/* Nor behind a descriptor that a local client passes, and that nobody takes. */
static void test_descriptor(void)
{
	up(true);
	watch(OB__SOCK_READ, true);
	CU_ASSERT_EQUAL(send(theirs, "abc", 3, 0), 3);
	send_with_descriptor("def");
	CU_ASSERT_EQUAL(send(theirs, "ghij", 4, 0), 4);
	CU_ASSERT_TRUE(reads(10));
	down();
}

/* The peer has read everything, so no room will be told of. */
static void test_no_memory(void)
{
	up(true);
	watch(OB__SOCK_READ, true);
	block_and_go_on();
	rooms = 0;
	starved = 1;
	CU_ASSERT_EQUAL(put("x"), UV_EAGAIN);
	watch(OB__SOCK_WRITE, true);
	for (int i = 0; i < 200 && rooms == 0; i++) {
		ob__loop_turn(loop);
		usleep(1000);
	}
	CU_ASSERT_EQUAL(rooms, 1);
	CU_ASSERT_EQUAL(put("x"), 1);
	down();
}

/* However often it is asked meanwhile, the loop sleeps. */
static void test_no_memory_for_long(void)
{
	unsigned woken = 0;

	up(true);
	starved = 50;
	while (starved > 0) {
		CU_ASSERT_EQUAL(put("x"), UV_EAGAIN);
		watch(OB__SOCK_WRITE, true);
		woken += wakes();
		watch(OB__SOCK_WRITE, false);
	}
	CU_ASSERT_TRUE(woken < 25);
	down();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("sock", NULL, NULL);
	CU_add_test(s, "room is told of no longer than it is waited for",
	            test_room_is_not_told_for_ever);
	CU_add_test(s, "a pause", test_a_pause);
	CU_add_test(s, "bytes behind an urgent one", test_urgent);
	CU_add_test(s, "bytes behind a descriptor", test_descriptor);
	CU_add_test(s, "a kernel without memory", test_no_memory);
	CU_add_test(s, "and for long", test_no_memory_for_long);
	return ob__tap_run();
}
