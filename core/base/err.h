/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F1.  Sentences for codes.
 *
 * Codes are those of <obhost/obhost.h> (results and SDK errors, -5001 and below) and negative
 * errno values, which are what libuv returns too.
 */

#ifndef OB__ERR_H
#define OB__ERR_H

#define OB__OK_SENTENCE "ok" /* ob__strerror(OB_OK) */

/* A short English sentence; static storage, never NULL. */
const char *ob__strerror(int code);

/* What a client sees as `code` for a result: 200, 400, 403, 404, 413, 500, 502, 503, 504. */
int ob__result_http(int code);

/* The word for a result in metrics and JSON: "OK", "APP", "NO_ROUTE", ... */
const char *ob__result_word(int code);

#endif
