/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * nats_rr: request and reply through nats-server, with libnats as it is when every message is sent
 * at once (SendAsap) and not by its flusher, which waits for more. `serve` answers with the payload
 * as it came; `call` keeps W requests in flight: each slot has a reply subject of its own under one
 * subscription, which is faster than natsConnection_Request(). Prints one JSON object, with what
 * the process itself has used.
 */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nats/nats.h>

#include "bench/callrun.h"
#include "tools/procstat.h"

#define SUBJECT "obhost.bench"

enum { REPLY_MAX = 128, PATIENCE_S = 10 };

static struct {
	natsConnection *nc;
	struct ob__callrun run;
	pthread_mutex_t lock;
	pthread_cond_t over;
	char body[OB__CALLRUN_MAX_SIZE];
	char inbox[REPLY_MAX];
} caller = {.lock = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER};

static void need(natsStatus status, const char *what)
{
	if (status != NATS_OK) {
		fprintf(stderr, "nats_rr: %s: %s\n", what, natsStatus_GetText(status));
		_exit(1);
	}
}

static natsConnection *dial(const char *url)
{
	natsConnection *nc = NULL;
	natsOptions *opts = NULL;

	need(natsOptions_Create(&opts), "options");
	need(natsOptions_SetURL(opts, url), url);
	need(natsOptions_SetSendAsap(opts, true), "send as soon as possible");
	need(natsConnection_Connect(&nc, opts), url);
	natsOptions_Destroy(opts);
	return nc;
}

static void answer(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *arg)
{
	(void)sub;
	(void)arg;
	need(natsConnection_Publish(nc, natsMsg_GetReply(msg), natsMsg_GetData(msg),
	                            natsMsg_GetDataLength(msg)),
	     "publish");
	natsMsg_Destroy(msg);
}

static int serve(const char *url)
{
	natsSubscription *sub = NULL;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	natsConnection *nc = dial(url);
	need(natsConnection_Subscribe(&sub, nc, SUBJECT, answer, NULL), "subscribe");
	need(natsConnection_Flush(nc), "flush");
	puts("listening 0");
	fflush(stdout);
	sigwait(&set, &sig);
	natsSubscription_Destroy(sub);
	natsConnection_Destroy(nc);
	return 0;
}

static void send_call(unsigned slot)
{
	char reply[REPLY_MAX + 16];

	snprintf(reply, sizeof(reply), "%s.%u", caller.inbox, slot);
	need(natsConnection_PublishRequest(caller.nc, SUBJECT, reply, caller.body,
	                                   (int)caller.run.size),
	     "publish");
}

static void on_answer(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *arg)
{
	const char *dot = strrchr(natsMsg_GetSubject(msg), '.');
	unsigned slot = (unsigned)strtoul(dot + 1, NULL, 10);
	bool ok = (size_t)natsMsg_GetDataLength(msg) == caller.run.size;

	(void)nc;
	(void)sub;
	(void)arg;
	natsMsg_Destroy(msg);
	pthread_mutex_lock(&caller.lock);
	bool more = slot < caller.run.in_flight && ob__callrun_ended(&caller.run, slot, ok);
	if (caller.run.owed == 0) {
		pthread_cond_signal(&caller.over);
	}
	pthread_mutex_unlock(&caller.lock);
	if (more) {
		send_call(slot);
	}
}

static void wait_for_end(void)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(caller.run.warmup + caller.run.seconds) + PATIENCE_S;
	pthread_mutex_lock(&caller.lock);
	while (caller.run.owed > 0 && rc == 0) {
		rc = pthread_cond_timedwait(&caller.over, &caller.lock, &until);
	}
	pthread_mutex_unlock(&caller.lock);
	if (rc != 0) {
		need(NATS_TIMEOUT, "answers");
	}
}

static int call(const char *url)
{
	natsSubscription *sub = NULL;
	natsInbox *inbox = NULL;
	char subject[REPLY_MAX + 2];
	char text[OB__CALLRUN_JSON];
	struct ob__proc_use use;

	memset(caller.body, 'x', sizeof(caller.body));
	caller.nc = dial(url);
	need(natsInbox_Create(&inbox), "inbox");
	snprintf(caller.inbox, sizeof(caller.inbox), "%s", inbox);
	natsInbox_Destroy(inbox);
	snprintf(subject, sizeof(subject), "%s.*", caller.inbox);
	need(natsConnection_Subscribe(&sub, caller.nc, subject, on_answer, NULL), "subscribe");
	need(natsConnection_Flush(caller.nc), "flush");
	if (ob__callrun_start(&caller.run) < 0) {
		need(NATS_INVALID_ARG, "that many calls, bytes or seconds");
	}
	for (unsigned slot = 0; slot < caller.run.in_flight; slot++) {
		send_call(slot);
	}
	wait_for_end();
	ob__callrun_json(&caller.run, text);
	ob__proc_self(&use);
	printf("%s,\"self_us\":%.0f}\n", text, use.user_us + use.sys_us);
	natsSubscription_Destroy(sub);
	natsConnection_Destroy(caller.nc);
	return 0;
}

int main(int argc, char **argv)
{
	int opt;

	caller.run = (struct ob__callrun){.in_flight = 1, .size = 64, .warmup = 0.5, .seconds = 2};
	while ((opt = getopt(argc, argv, "W:s:w:t:")) != -1) {
		if (!ob__callrun_option(&caller.run, opt, optarg)) {
			optind = argc;
		}
	}
	bool good = optind == argc - 2;
	if (good && !strcmp(argv[optind], "serve")) {
		return serve(argv[optind + 1]);
	}
	if (good && !strcmp(argv[optind], "call")) {
		return call(argv[optind + 1]);
	}
	fputs("usage: nats_rr serve URL\n"
	      "       nats_rr [-W IN_FLIGHT] [-s BYTES] [-w WARMUP] [-t SECONDS] call URL\n",
	      stderr);
	return 2;
}
