/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "cmd/cmd.h"

#include <string.h>

#include "host/swap/probe.h"

static const struct ob__command commands[] = {
	{"lint", ob__cmd_lint, "FILE.so...  would a node load and unload these modules?"},
	{"new", ob__cmd_new, "NAME [--kind KIND]  makes a project for a module"},
	{"probe", ob__cmd_probe, NULL},
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

int ob__cmd_probe(int argc, char **argv)
{
	return ob__probe_main();
}
