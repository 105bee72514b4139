/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Why a module was refused: the step, the file, what was found,
 * what was expected and what to do, for the operator's reply and for the log.
 */

#ifndef OB__REFUSAL_H
#define OB__REFUSAL_H

/* Empty strings: not said. */
struct ob__load_refusal {
	char step[16]; /* the word of the transaction's step */
	char code[32]; /* a word: "not_found", "truncated", "abi", "name", ... */
	char file[512];
	char found[160];
	char expected[160];
	char remedy[256];
	char message[512];
};

/* Fills a refusal; file, found, expected, remedy may be NULL.  What is not UTF-8 (file names, what
 * ld.so says) is made so. */
void ob__refuse(struct ob__load_refusal *r, const char *step, const char *code, const char *file,
                const char *found, const char *expected, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 8, 9)));

/* Texts come from files, modules, ld.so and requests, and may be cut: what is not UTF-8 is no JSON.
 * Such a text becomes ASCII. */
void ob__make_utf8(char *text);

#endif
