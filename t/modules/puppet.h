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
	int (*load)(ob_ctx *ctx, ob_reader *reader, uint32_t version);
	void (*live)(ob_ctx *ctx);
	int (*save)(ob_ctx *ctx, ob_writer *writer, uint32_t version);
	void (*drain)(ob_ctx *ctx);
	void (*resume)(ob_ctx *ctx);
	int (*reconf)(ob_ctx *ctx, const json_t *conf, int phase, ob_err *err);
	void (*stop)(ob_ctx *ctx);
	int checks;
	int starts;
	int selftests;
	int loads;
	int lives;
	int saves;
	int drains;
	int resumes;
	int reconfs;
	int stops;
	ob_ctx *ctx; /* of the generation that went live last, or was resumed */
};

#endif
