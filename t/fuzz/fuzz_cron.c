/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Schedules: nine bytes say when and in which zone it begins, the rest is the text.  What follows
 * one another goes forward, and is in the schedule, but for what a zone's change moves.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cron.h"
#include "lib/le.h"
#include "t/fuzz/fuzz.h"

/* A zone with a change twice a year, by an hour or half of one. */
static int32_t zone(void *arg, int64_t at)
{
	const uint8_t *how = arg;
	int32_t base = ((int32_t)(*how >> 2) - 32) * 1800;
	int64_t half = at / (182 * 86400);

	return base + (half % 2 != 0 ? ((*how & 1) != 0 ? 3600 : 1800) : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char text[OB__CRON_LEN + 2] = "";
	struct ob__cron c;

	if (len < 9 || len - 9 >= sizeof(text)) {
		return 0;
	}
	int64_t at = (int64_t)(ob__get64(data) >> 30);
	uint8_t how = data[8];
	memcpy(text, data + 9, len - 9);
	if (ob__cron_parse(&c, text) != 0) {
		return 0;
	}
	CHECK(c.seconds != 0 && c.minutes != 0 && c.hours != 0 && c.months != 0);
	for (int i = 0; i < 4; i++) {
		int64_t next = ob__cron_next(&c, at, (how & 2) != 0 ? zone : NULL, &how);
		if (next == OB__CRON_NEVER) {
			break;
		}
		CHECK(next > at);
		CHECK((how & 2) != 0 || (c.seconds >> (next % 60) & 1) != 0);
		at = next;
	}
	return 0;
}
