/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * example URL [ID [JSON [COUNT]]]: asks a node, one request after the other, and shows what comes,
 * pushes too: "ID: BODY" for an answer, "push ID: BODY".  With COUNT 0 it only listens.
 *
 *     cc -I. example.c obhost_client.c obhost_wire.c -o example
 *     ./example ws://127.0.0.1:20000/ 10000
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "obhost_client.h"

struct talk {
	uint32_t id;
	const char *body;
	long left;
	int failed;
	int over;
};

static void ask(obhost_client *c, struct talk *t);

static void answered(obhost_client *c, int code, const void *data, size_t len, void *arg)
{
	struct talk *t = (struct talk *)arg;

	if (code == OBHOST_OK) {
		printf("%u: %.*s\n", (unsigned)t->id, (int)len, (const char *)data);
	} else {
		printf("%u: %s\n", (unsigned)t->id, obhost_client_strerror(code));
		t->failed = 1;
	}
	fflush(stdout);
	if (--t->left > 0) {
		ask(c, t);
	} else {
		obhost_client_close(c, 0, "done");
	}
}

static void ask(obhost_client *c, struct talk *t)
{
	int rc = obhost_client_request(c, t->id, t->body, strlen(t->body), 0, answered, t);

	if (rc < 0) {
		fprintf(stderr, "%s\n", obhost_client_strerror(rc));
		t->failed = 1;
		obhost_client_close(c, 0, "can't ask");
	}
}

static void pushed(obhost_client *c, uint32_t id, const void *data, size_t len, void *arg)
{
	(void)c;
	(void)arg;
	printf("push %u: %.*s\n", (unsigned)id, (int)len, (const char *)data);
	fflush(stdout);
}

static void opened(obhost_client *c, int again, void *arg)
{
	(void)c;
	(void)arg;
	printf("%s\n", again ? "connected again" : "connected");
	fflush(stdout);
}

static void lost(obhost_client *c, int code, const char *reason, uint32_t retry_ms, void *arg)
{
	(void)c;
	(void)arg;
	printf("lost: %d %s\n", code, reason);
	fflush(stdout);
	fprintf(stderr, "again in %u ms\n", (unsigned)retry_ms);
}

static void closed(obhost_client *c, int code, const char *reason, void *arg)
{
	(void)c;
	((struct talk *)arg)->over = 1;
	printf("closed: %d %s\n", code, reason);
}

int main(int argc, char **argv)
{
	struct talk t = {argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 10000,
	                 argc > 3 ? argv[3] : "{}", argc > 4 ? strtol(argv[4], NULL, 10) : 1, 0, 0};
	obhost_client_options options;

	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.url = argc > 1 ? argv[1] : "";
	options.arg = &t;
	options.on_push = pushed;
	options.on_open = opened;
	options.on_lost = lost;
	options.on_close = closed;
	options.backoff_min_ms = 100;
	options.backoff_max_ms = 1000;
	obhost_client *c = obhost_client_new(&options);
	if (!c) {
		fprintf(stderr,
		        "usage: example ws://HOST:PORT/|tcp://HOST:PORT [ID [JSON [COUNT]]]\n");
		return 2;
	}
	if (t.left > 0) {
		ask(c, &t);
	}
	while (!t.over && obhost_client_poll(c, -1) == 0) {
	}
	obhost_client_free(c);
	return t.failed;
}
