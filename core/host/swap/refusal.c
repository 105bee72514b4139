/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/refusal.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lib/ws.h"

void ob__make_utf8(char *text)
{
	if (ob__utf8_ok((const uint8_t *)text, strlen(text))) {
		return;
	}
	for (; *text != '\0'; text++) {
		*text = (char)((unsigned char)*text < 0x80 ? *text : '?');
	}
}

void ob__refuse(struct ob__load_refusal *r, const char *step, const char *code, const char *file,
                const char *found, const char *expected, const char *remedy, const char *fmt, ...)
{
	va_list ap;

	snprintf(r->step, sizeof(r->step), "%s", step);
	snprintf(r->code, sizeof(r->code), "%s", code);
	snprintf(r->file, sizeof(r->file), "%s", file != NULL ? file : "");
	snprintf(r->found, sizeof(r->found), "%s", found != NULL ? found : "");
	snprintf(r->expected, sizeof(r->expected), "%s", expected != NULL ? expected : "");
	snprintf(r->remedy, sizeof(r->remedy), "%s", remedy != NULL ? remedy : "");
	va_start(ap, fmt);
	vsnprintf(r->message, sizeof(r->message), fmt, ap);
	va_end(ap);
	ob__make_utf8(r->file);
	ob__make_utf8(r->found);
	ob__make_utf8(r->expected);
	ob__make_utf8(r->remedy);
	ob__make_utf8(r->message);
}
