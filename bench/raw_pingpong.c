/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * raw_pingpong: the limit of the machine for calls between two nodes. Plain epoll, one TCP link
 * with raw_chain's 16-byte header, W calls in flight on it; whatever the answers of one read make
 * it send goes out in one send(). A `raw_chain service` answers, a `raw_chain route` in between
 * passes on. Prints one JSON object, with what the process itself has used.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "bench/callrun.h"
#include "bench/rawnet.h"
#include "tools/procstat.h"
#include "tools/seedpkt.h"

enum { LINK_HEADER = 16, EVENTS = 16, PATIENCE_MS = 10000, MESSAGE_ID = 30000 };

static struct {
	int epfd;
	uint8_t *buf;
	struct ob__raw_sock link;
	struct ob__callrun run;
} caller;

static void send_call(unsigned slot)
{
	const struct ob__callrun *r = &caller.run;
	uint8_t *at = ob__raw_room(&caller.link, LINK_HEADER + r->size);

	ob__le32_put(at, (uint32_t)r->size);
	ob__le32_put(at + 4, slot);
	ob__le32_put(at + 8, 0);
	ob__le32_put(at + 12, MESSAGE_ID);
	memset(at + LINK_HEADER, 'x', r->size);
}

static void take_answers(void)
{
	struct ob__callrun *r = &caller.run;
	ssize_t got = ob__raw_read(&caller.link, caller.buf);
	size_t at = 0;

	if (got < 0) {
		ob__raw_die("the next hop is gone");
	}
	size_t n = (size_t)got;
	while (n - at >= LINK_HEADER) {
		uint32_t len = ob__le32_get(caller.buf + at);
		uint32_t slot = ob__le32_get(caller.buf + at + 4);
		if (len != r->size || slot >= r->in_flight) {
			ob__raw_die("an answer to nothing that was asked");
		}
		if (n - at - LINK_HEADER < len) {
			break;
		}
		if (ob__callrun_ended(r, slot, true)) {
			send_call(slot);
		}
		at += LINK_HEADER + (size_t)len;
	}
	ob__raw_keep(&caller.link, caller.buf + at, n - at);
}

static void call(void)
{
	struct epoll_event ev[EVENTS];

	for (unsigned slot = 0; slot < caller.run.in_flight; slot++) {
		send_call(slot);
	}
	while (caller.run.owed > 0) {
		if (ob__raw_flush(caller.epfd, &caller.link) < 0) {
			ob__raw_die("the next hop is gone");
		}
		int n = epoll_wait(caller.epfd, ev, EVENTS, PATIENCE_MS);
		if (n <= 0) {
			ob__raw_die("no answer for %d s", PATIENCE_MS / 1000);
		}
		if (ev[0].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
			take_answers();
		}
	}
}

static void report(void)
{
	char text[OB__CALLRUN_JSON];
	struct ob__proc_use use;

	ob__callrun_json(&caller.run, text);
	ob__proc_self(&use);
	printf("%s,\"self_us\":%.0f}\n", text, use.user_us + use.sys_us);
}

int main(int argc, char **argv)
{
	struct ob__callrun *r = &caller.run;
	int opt;

	*r = (struct ob__callrun){.in_flight = 1, .size = 64, .warmup = 0.5, .seconds = 2};
	while ((opt = getopt(argc, argv, "W:s:w:t:")) != -1) {
		if (!ob__callrun_option(r, opt, optarg)) {
			optind = argc;
		}
	}
	if (optind != argc - 1) {
		fputs("usage: raw_pingpong [-W IN_FLIGHT] [-s BYTES] [-w WARMUP] [-t SECONDS] "
		      "HOST:PORT\n",
		      stderr);
		return 2;
	}
	caller.epfd = ob__raw_start();
	caller.buf = malloc(OB__RAW_BUFFER);
	if (!caller.buf) {
		ob__raw_die("out of memory");
	}
	ob__raw_open(caller.epfd, &caller.link, 0, ob__raw_dial(argv[optind]));
	if (ob__callrun_start(r) < 0) {
		ob__raw_die("that many calls, bytes or seconds make no sense");
	}
	call();
	report();
	return 0;
}
