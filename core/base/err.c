/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/err.h"

#include <uv.h>

#include <obhost/obhost.h>

struct result {
	const char *sentence;
	const char *word;
	int http; /* 0: never the end of a request */
};

static struct result describe(enum ob_result_code code)
{
	/* No default: a code without a sentence is a warning of the compiler. */
	switch (code) {
	case OB_OK:
		return (struct result){OB__OK_SENTENCE, "OK", 200};
	case OB_E_APP:
		return (struct result){"the handler failed", "APP", 500};
	case OB_E_NOT_FOUND:
		return (struct result){"no handler for it", "NOT_FOUND", 404};
	case OB_E_NO_ROUTE:
		return (struct result){"no live node for it", "NO_ROUTE", 503};
	case OB_E_BUSY:
		return (struct result){"too busy", "BUSY", 503};
	case OB_E_DEADLINE:
		return (struct result){"no answer in time", "DEADLINE", 504};
	case OB_E_NOT_SENT:
		return (struct result){"the link broke before it was sent", "NOT_SENT", 503};
	case OB_E_MAYBE_SENT:
		return (struct result){"the link broke, it may have been sent", "MAYBE_SENT", 502};
	case OB_E_GONE:
		return (struct result){"who held it is gone", "GONE", 503};
	case OB_E_DENIED:
		return (struct result){"not allowed", "DENIED", 403};
	case OB_E_TOO_BIG:
		return (struct result){"too big", "TOO_BIG", 413};
	case OB_E_BAD:
		return (struct result){"not what the handler reads", "BAD", 400};
	case OB_E_STALE:
		return (struct result){"what the handle stood for is gone", "STALE", 0};
	case OB_E_STATE:
		return (struct result){"not possible in this state", "STATE", 0};
	case OB_E_DEAD:
		return (struct result){"this generation has been taken out", "DEAD", 0};
	case OB_E_EXISTS:
		return (struct result){"another module has it already", "EXISTS", 0};
	case OB_E_INVAL:
		return (struct result){"an argument makes no sense", "INVAL", 0};
	case OB_E_NOMEM:
		return (struct result){"out of memory", "NOMEM", 0};
	case OB_E_LIMIT:
		return (struct result){"a limit is reached", "LIMIT", 0};
	}
	return (struct result){NULL, NULL, 0};
}

/* uv_strerror() allocates for a code it does not know; this one never does. */
static const char *errno_sentence(int code)
{
	switch (code) {
#define CASE(name, sentence) \
	case UV_##name:      \
		return sentence;
		UV_ERRNO_MAP(CASE)
#undef CASE
	}
	return "unknown error";
}

const char *ob__strerror(int code)
{
	struct result r = describe((enum ob_result_code)code);
	return r.sentence ? r.sentence : errno_sentence(code);
}

int ob__result_http(int code)
{
	struct result r = describe((enum ob_result_code)code);
	return r.http ? r.http : 500;
}

const char *ob__result_word(int code)
{
	struct result r = describe((enum ob_result_code)code);
	return r.word ? r.word : "ERROR";
}
