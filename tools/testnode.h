/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to tools: a real node for a test, a child process with a scratch folder and a free port
 * of its own. It is administrated by its unix socket, one blocking question at a time.
 *
 * Functions that fail leave a sentence in why. Not for several threads.
 */
#ifndef OB__TESTNODE_H
#define OB__TESTNODE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

struct ob__testnode {
	char dir[64];     /* scratch folder, removed at the end */
	char modules[96]; /* in it: where the node looks for modules first */
	int port;         /* of its WebSocket listener */
	pid_t pid;        /* 0: it does not run */
	FILE *admin;      /* NULL: not connected */
	char why[512];
};

/* What the system says of the process. */
struct ob__testnode_use {
	long rss_kib;
	long maps;   /* lines of /proc/PID/maps */
	long staged; /* different files of modules among them */
	long fds;
	long threads;
};

/* Makes the scratch folder. 0 or -1. */
int ob__testnode_init(struct ob__testnode *node);

/* Starts `program` and returns when it is ready. `conf` is its configuration, to which name, host,
 * folders and the port are added. 0 or -1; a port that somebody else took meanwhile is another try.
 */
int ob__testnode_start(struct ob__testnode *node, const char *program, const json_t *conf);

/* Asks for an administrative verb. The status, with a new reference to the answer in *body, or -1.
 * args may be NULL. */
int ob__testnode_ask(struct ob__testnode *node, const char *verb, const json_t *args,
                     json_t **body);

/* 0, or -1 if it has gone. */
int ob__testnode_use(struct ob__testnode *node, struct ob__testnode_use *use);

/* Stops the node and waits for its end. 0, or -1 if it did not end with 0. */
int ob__testnode_stop(struct ob__testnode *node);

/* The last lines of what the node has said, to `out`. */
void ob__testnode_show_log(const struct ob__testnode *node, FILE *out);

/* Kills the node if it still runs, and removes the folder. */
void ob__testnode_destroy(struct ob__testnode *node);

#endif
