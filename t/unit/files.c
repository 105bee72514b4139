/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "unit/files.h"

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIRS_MAX 8

/* What is to be removed at the end; exit and signal handlers take no argument. */
static char dirs[DIRS_MAX][PATH_MAX];
static pid_t owner; /* children that a test forks leave it alone */

/* ---------------------------------------------------------------- the end of the process */

static void remove_all(const char *path);

static void at_exit(void)
{
	for (size_t i = 0; i < DIRS_MAX && getpid() == owner; i++) {
		if (dirs[i][0] != '\0') {
			remove_all(dirs[i]);
		}
	}
}

/* Another program removes them: here nothing may be called that allocates. */
static void at_signal(int signum)
{
	char option[] = "-rf";
	char tool[] = "rm";
	char *args[DIRS_MAX + 3] = {tool, option};
	size_t n = 2;

	for (size_t i = 0; i < DIRS_MAX; i++) {
		if (dirs[i][0] != '\0') {
			args[n++] = dirs[i];
		}
	}
	if (getpid() == owner && n > 2) {
		pid_t child = fork();
		if (child == 0) {
			execv("/bin/rm", args);
			_exit(127);
		}
		waitpid(child, NULL, 0);
	}
	signal(signum, SIG_DFL);
	raise(signum);
}

/* Anew each time: libuv leaves a signal to its default when nobody watches it any more. */
static void watch_end(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM};

	if (owner != getpid()) {
		owner = getpid();
		memset(dirs, 0, sizeof(dirs));
		atexit(at_exit);
	}
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction now;
		if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
			signal(signals[i], at_signal);
		}
	}
}

/* ---------------------------------------------------------------- directories */

void files_make_dir(char *path, size_t cap)
{
	const char *tmp = getenv("TMPDIR");
	char made[PATH_MAX];
	char real[PATH_MAX];
	size_t i = 0;

	watch_end();
	while (i < DIRS_MAX && dirs[i][0] != '\0') {
		i++;
	}
	snprintf(made, sizeof(made), "%s/ob-unit-XXXXXX",
	         tmp != NULL && *tmp != '\0' ? tmp : "/tmp");
	if (i == DIRS_MAX || mkdtemp(made) == NULL || realpath(made, real) == NULL ||
	    strlen(real) >= cap) {
		perror(made);
		abort();
	}
	strcpy(path, real);
	strcpy(dirs[i], real);
}

static void remove_all(const char *path)
{
	bool gone = unlink(path) == 0;
	DIR *d = gone ? NULL : opendir(path);
	const struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char child[PATH_MAX + 300];
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
			snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
			remove_all(child);
		}
	}
	if (d != NULL) {
		closedir(d);
	}
	rmdir(path);
}

void files_remove(const char *path)
{
	watch_end();
	remove_all(path);
	for (size_t i = 0; i < DIRS_MAX; i++) {
		if (strcmp(dirs[i], path) == 0) {
			dirs[i][0] = '\0';
		}
	}
}

/* ---------------------------------------------------------------- files */

char *files_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	size_t cap = 4096;
	size_t n = 0;
	char *data = malloc(cap);

	while (data != NULL && f != NULL && !feof(f) && !ferror(f)) {
		n += fread(data + n, 1, cap - n - 1, f);
		if (n + 1 == cap) {
			cap *= 2;
			data = realloc(data, cap);
		}
	}
	if (f != NULL) {
		fclose(f);
	}
	if (data == NULL) {
		abort();
	}
	data[n] = '\0';
	if (len != NULL) {
		*len = n;
	}
	return data;
}

void files_write(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "we");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fwrite(data, 1, len, f), len);
	CU_ASSERT_EQUAL(fclose(f), 0);
}

void files_write_text(const char *path, const char *text)
{
	files_write(path, text, strlen(text));
}
