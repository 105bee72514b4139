/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to bench: what the raw servers share, sockets on plain epoll. A raw server is the limit
 * of the machine: the same system calls and the same framing as a real one, and nothing else. It
 * copes with reads and writes cut at any byte and with a reader that is slow, and it refuses what
 * would make it grow without bound.
 *
 * One read buffer serves all sockets of a process: what was left incomplete by the last read is put
 * in front of it, the next bytes behind. Output goes to a 64 KiB chunk from a free list, taken at
 * the first byte and given back when all is sent, so quiet sockets own none.
 */
#ifndef OB__RAWNET_H
#define OB__RAWNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	OB__RAW_READ = 256 << 10, /* bytes asked of one recv() */
	OB__RAW_MAX = 1 << 20,    /* largest payload taken */
	OB__RAW_CHUNK = 64 << 10,
	OB__RAW_EARLY = 256 << 10, /* bytes waiting in all that force a flush inside an iteration */
	OB__RAW_HEAP = 32 << 20,   /* bytes the allocator keeps */
	OB__RAW_BUFFER = OB__RAW_READ + OB__RAW_MAX + 4096,
};

enum { OB__RAW_OP_CLOSE = 8, OB__RAW_OP_PING = 9, OB__RAW_OP_PONG = 10 };

struct ob__raw_frame {
	bool fin;
	unsigned opcode;
	size_t len; /* of the payload */
	uint8_t mask[4];
};

struct ob__raw_sock {
	int kind;        /* the owner's */
	int fd;          /* -1: closed */
	uint32_t events; /* armed in epoll */
	bool paused;     /* not to be read */
	uint8_t *kept;   /* an incomplete message */
	size_t kept_len;
	uint8_t *out; /* out_off to out_len waits to be sent */
	size_t out_off;
	size_t out_len;
	size_t out_cap;
};

/* ---- processes and sockets; these end the program with a message when they fail ---- */

void ob__raw_die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Makes TERM and INT end the process with status 0, ignores PIPE. An epoll descriptor. */
int ob__raw_start(void);

/* Listens on 127.0.0.1:port and prints "listening PORT"; port "0" lets the system choose. */
int ob__raw_listen(const char *port);

/* Connects to HOST:PORT, trying for 5 seconds. A non-blocking descriptor. */
int ob__raw_dial(const char *address);

/* The next accepted connection, non-blocking, without delay; -1 if there is none. */
int ob__raw_accept(int listener);

/* ---- one socket ---- */

/* Adds s with its kind to epoll; the fd is the socket's from now on. */
void ob__raw_open(int epfd, struct ob__raw_sock *s, int kind, int fd);

/* Closes and frees; safe to repeat. */
void ob__raw_close(struct ob__raw_sock *s);

/* Reads into buf behind what was kept. Bytes in buf, 0 if none are new, -1 at the end. */
ssize_t ob__raw_read(struct ob__raw_sock *s, uint8_t *buf);

/* Keeps these n bytes for the next read. */
void ob__raw_keep(struct ob__raw_sock *s, const uint8_t *p, size_t n);

/* Room for n bytes at the end of the output; they count as written. */
uint8_t *ob__raw_room(struct ob__raw_sock *s, size_t n);

/* The bytes that wait to be sent. */
size_t ob__raw_waiting(const struct ob__raw_sock *s);

/* Sends what waits and arms epoll for the rest; -1 if the socket is dead. */
int ob__raw_flush(int epfd, struct ob__raw_sock *s);

/* Arms epoll for what paused and the output ask for. */
void ob__raw_arm(int epfd, struct ob__raw_sock *s);

/* ---- WebSocket, server side ---- */

/* Answers an upgrade request. Bytes taken, 0 if more are needed, -1 if it is none. */
ssize_t ob__raw_upgrade(struct ob__raw_sock *s, const uint8_t *p, size_t n);

/* Reads a client frame's header. Its length, 0 if more are needed, -1 if refused. */
int ob__raw_header(const uint8_t *p, size_t n, struct ob__raw_frame *f);

/* Writes a server frame's header. Its length, at most 10. */
size_t ob__raw_put(uint8_t *dst, uint8_t first, size_t len);

/*
 * Turns client frames into an echo's replies in place, up to a close frame and its answer: a server
 * frame is 4 bytes shorter. Bytes used in *used, *closes when that was a close; the replies'
 * length, or -1.
 */
ssize_t ob__raw_echo(uint8_t *p, size_t n, size_t *used, bool *closes);

#endif
