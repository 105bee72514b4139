/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "bench/callrun.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECOND 1000000000.0

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

int ob__callrun_start(struct ob__callrun *r)
{
	if (r->in_flight < 1 || r->in_flight > OB__CALLRUN_MAX_SLOTS ||
	    r->size > OB__CALLRUN_MAX_SIZE || !(r->warmup >= 0 && r->warmup <= 3600) ||
	    !(r->seconds > 0 && r->seconds <= 3600)) {
		return -1;
	}
	uint64_t now = now_ns();
	r->from = now + (uint64_t)(r->warmup * SECOND);
	r->to = r->from + (uint64_t)(r->seconds * SECOND);
	r->owed = r->in_flight;
	for (unsigned i = 0; i < r->in_flight; i++) {
		r->sent[i] = now;
	}
	return 0;
}

bool ob__callrun_ended(struct ob__callrun *r, unsigned slot, bool ok)
{
	uint64_t now = now_ns();

	r->total++;
	r->errors += !ok;
	if (ok && now >= r->from && now < r->to) {
		r->done++;
		ob__lat_record(&r->lat, now - r->sent[slot]);
	}
	if (now >= r->to) {
		r->owed--;
		return false;
	}
	r->sent[slot] = now;
	return true;
}

static double us(const struct ob__callrun *r, double q)
{
	return (double)ob__lat_quantile(&r->lat, q) / 1000;
}

size_t ob__callrun_json(const struct ob__callrun *r, char out[OB__CALLRUN_JSON])
{
	int n = snprintf(
		out, OB__CALLRUN_JSON,
		"{\"in_flight\":%u,\"body\":%zu,\"total\":%" PRIu64 ",\"messages\":%" PRIu64
		",\"errors\":%" PRIu64 ",\"msgs_per_s\":%.3f,\"latency_us\":{\"p50\":%.3f,"
		"\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}",
		r->in_flight, r->size, r->total, r->done, r->errors, (double)r->done / r->seconds,
		us(r, .5), us(r, .99), us(r, .999), (double)r->lat.max / 1000);
	return (size_t)n;
}

bool ob__callrun_option(struct ob__callrun *r, int option, const char *text)
{
	switch (option) {
	case 'W':
		r->in_flight = (unsigned)strtoul(text, NULL, 10);
		return true;
	case 's':
		r->size = strtoul(text, NULL, 10);
		return true;
	case 'w':
		r->warmup = strtod(text, NULL);
		return true;
	case 't':
		r->seconds = strtod(text, NULL);
		return true;
	default:
		return false;
	}
}
