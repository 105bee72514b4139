/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* PUPPET_NAME, PUPPET_VERSION and PUPPET_MORE, further members of the descriptor, come from the
 * build: the same source is several modules. */

#include "puppet.h"

#define NAMED(name, ...) OB_MODULE(name, __VA_ARGS__)

#ifndef PUPPET_MORE
#define PUPPET_MORE .flags = 0
#endif

static struct puppet *hooks;

static struct puppet *of(const json_t *conf)
{
	return (struct puppet *)(uintptr_t)json_integer_value(json_object_get(conf, "hooks"));
}

static int check(const json_t *conf, ob_err *err)
{
	struct puppet *p = of(conf);

	if (p == NULL) {
		return 0;
	}
	p->checks++;
	return p->check != NULL ? p->check(conf, err) : 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	hooks = of(conf);
	if (hooks == NULL) {
		return 0;
	}
	hooks->starts++;
	return hooks->start != NULL ? hooks->start(ctx, conf) : 0;
}

static int selftest(ob_ctx *ctx)
{
	if (hooks == NULL) {
		return 0;
	}
	hooks->selftests++;
	return hooks->selftest != NULL ? hooks->selftest(ctx) : 0;
}

static int load(ob_ctx *ctx, ob_reader *reader, uint32_t version)
{
	if (hooks == NULL) {
		return 0;
	}
	hooks->loads++;
	return hooks->load != NULL ? hooks->load(ctx, reader, version) : 0;
}

static int save(ob_ctx *ctx, ob_writer *writer, uint32_t version)
{
	if (hooks == NULL) {
		return 0;
	}
	hooks->saves++;
	return hooks->save != NULL ? hooks->save(ctx, writer, version) : 0;
}

static void live(ob_ctx *ctx)
{
	if (hooks == NULL) {
		return;
	}
	hooks->lives++;
	hooks->ctx = ctx;
	if (hooks->live != NULL) {
		hooks->live(ctx);
	}
}

static void drain(ob_ctx *ctx)
{
	if (hooks == NULL) {
		return;
	}
	hooks->drains++;
	if (hooks->drain != NULL) {
		hooks->drain(ctx);
	}
}

static void resume(ob_ctx *ctx)
{
	if (hooks == NULL) {
		return;
	}
	hooks->resumes++;
	hooks->ctx = ctx;
	if (hooks->resume != NULL) {
		hooks->resume(ctx);
	}
}

static int reconf(ob_ctx *ctx, const json_t *conf, int phase, ob_err *err)
{
	if (hooks == NULL) {
		return 0;
	}
	hooks->reconfs++;
	return hooks->reconf != NULL ? hooks->reconf(ctx, conf, phase, err) : 0;
}

static void stop(ob_ctx *ctx)
{
	if (hooks == NULL) {
		return;
	}
	hooks->stops++;
	if (hooks->stop != NULL) {
		hooks->stop(ctx);
	}
}

NAMED(PUPPET_NAME, .version = PUPPET_VERSION, .check = check, .start = start, .selftest = selftest,
      .load = load, .live = live, .save = save, .drain = drain, .resume = resume, .reconf = reconf,
      .stop = stop, PUPPET_MORE);
