/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Tests only.  A module whose hooks are functions of the test that loads it: its conf is
 * {"hooks": N}, the address of one of these.  So a test writes what a module does next to what it
 * expects, while the module itself is loaded, switched and unmapped as any other.
 */

#ifndef PUPPET_H
#define PUPPET_H

#include <obhost/obhost.h>

/* A hook that is NULL does nothing and succeeds; each is counted, NULL or not. */
struct puppet {
	int (*check)(const json_t *conf, ob_err *err);
	int (*start)(ob_ctx *ctx, const json_t *conf);
	int (*selftest)(ob_ctx *ctx);
	void (*live)(ob_ctx *ctx);
	void (*drain)(ob_ctx *ctx);
	int (*reconf)(ob_ctx *ctx, const json_t *conf, int phase, ob_err *err);
	void (*stop)(ob_ctx *ctx);
	int checks;
	int starts;
	int selftests;
	int lives;
	int drains;
	int reconfs;
	int stops;
	ob_ctx *ctx; /* of the generation that went live last */
};

#endif
