/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the executable, above all floors.  Subcommands: `obhost WORD ...`.
 *
 * What is no node but belongs to one, a tool for those who write modules, is a word of the same
 * executable: it then is the same version with the same ABI, and needs no second program to be
 * found.  A subcommand's argv[0] is its word; it returns an exit status.
 */

#ifndef OB__CMD_H
#define OB__CMD_H

#include <stdio.h>

struct ob__command {
	const char *word;
	int (*run)(int argc, char **argv);
	const char *help; /* one line for usage(), or NULL: not shown */
};

/* A program that comes with this one: at the path `in_tree` from this one's folder, or of that
 * `name` where it is installed.  0 with its path in `out` (PATH_MAX), or -1 with the path where it
 * should have been. */
int ob__command_program(char *out, const char *in_tree, const char *name);

/* The subcommand of that name, or NULL. */
const struct ob__command *ob__command_find(const char *word);

/* A line for each that is shown. */
void ob__commands_usage(FILE *out);

/* Checks modules: obhost lint [-c CONF.json] FILE.so... */
int ob__cmd_lint(int argc, char **argv);

/* Makes a project for a module: obhost new NAME [--kind KIND] ... */
int ob__cmd_new(int argc, char **argv);

/* What the host runs to rehearse a module; not for people. */
int ob__cmd_probe(int argc, char **argv);

/* Makes a C header from a declaration of methods: obhost stubs [-o OUT.h] FILE.json */
int ob__cmd_stubs(int argc, char **argv);

/* Exchanges a module in a node of its own, under load: a program beside this one does it. */
int ob__cmd_swap_test(int argc, char **argv);

#endif
