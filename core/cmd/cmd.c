/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "cmd/cmd.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "host/swap/probe.h"

static const struct ob__command commands[] = {
	{"lint", ob__cmd_lint, "FILE.so...  would a node load and unload these modules?"},
	{"new", ob__cmd_new, "NAME [--kind KIND]  makes a project for a module"},
	{"probe", ob__cmd_probe, NULL},
	{"stubs", ob__cmd_stubs,
         "[-o OUT.h] FILE.json  makes typed C functions of declared methods"},
	{"swap-test", ob__cmd_swap_test,
         "OLD.so NEW.so  exchanges a module under load, and counts"},
};

const struct ob__command *ob__command_find(const char *word)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].word, word) == 0) {
			return &commands[i];
		}
	}
	return NULL;
}

void ob__commands_usage(FILE *out)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (commands[i].help != NULL) {
			fprintf(out, "  %-9s  %s\n", commands[i].word, commands[i].help);
		}
	}
}

int ob__command_program(char *out, const char *in_tree, const char *name)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	const char *slash = strrchr(self, '/');
	if (slash != NULL) {
		int n = snprintf(out, PATH_MAX, "%.*s/%s", (int)(slash - self), self, in_tree);
		if (n < PATH_MAX && access(out, X_OK) == 0) {
			return 0;
		}
	}
	snprintf(out, PATH_MAX, "%s/%s", OB_LIBEXEC_DIR, name);
	return access(out, X_OK);
}

int ob__cmd_probe(int argc, char **argv)
{
	return ob__probe_main(true);
}
