/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Fuzz targets without a fuzzer: runs the target on each file named, and on each file in each
 * folder named.  A finding aborts, as it does under the fuzzer.
 *
 *     fuzz_ws FILE|FOLDER...
 *     fuzz_ws -runs=1000000 -seed=1 -workers=2 -artifact_prefix=found/ws- FOLDER
 *
 * The second form, in the words of libFuzzer, runs it also on so many inputs made from those by
 * chance, a seed's always the same ones, in so many processes; the input of a finding is saved.
 */

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "t/fuzz/explore.h"
#include "t/fuzz/fuzz.h"
#include "t/fuzz/mutate.h"

#define MAX_LEN 4096u

int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static struct fuzz_corpus corpus;

static int complain(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return -1;
}

/* The input is a block of its exact size, so that a sanitizer sees a read beyond it. */
static int run_stream(FILE *f, const char *path, size_t len)
{
	uint8_t *data = malloc(len > 0 ? len : 1);
	if (data == NULL || fread(data, 1, len, f) != len) {
		free(data);
		return complain(path);
	}
	LLVMFuzzerTestOneInput(data, len);
	int rc = fuzz_corpus_add(&corpus, path, data, len);
	free(data);
	return rc;
}

static int run_file(const char *path, const struct stat *st)
{
	FILE *f = fopen(path, "rb");
	if (f == NULL) {
		return complain(path);
	}
	int rc = run_stream(f, path, (size_t)st->st_size);
	fclose(f);
	return rc;
}

static int run_path(const char *path);

static int run_folder(const char *path)
{
	DIR *dir = opendir(path);
	if (dir == NULL) {
		return complain(path);
	}
	int rc = 0;
	const struct dirent *entry;
	while ((entry = readdir(dir)) != NULL) {
		char name[4096];
		if (entry->d_name[0] == '.') {
			continue;
		}
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (run_path(name) < 0) {
			rc = -1;
		}
	}
	closedir(dir);
	return rc;
}

static int run_path(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0) {
		return complain(path);
	}
	if (S_ISDIR(st.st_mode)) {
		return run_folder(path);
	}
	return run_file(path, &st);
}

/* -NAME=NUMBER */
static bool number(const char *arg, const char *name, uint64_t *value)
{
	size_t len = strlen(name);
	char *end;
	if (strncmp(arg, name, len) != 0 || arg[len] < '0' || arg[len] > '9') {
		return false;
	}
	*value = strtoull(arg + len, &end, 10);
	return *end == '\0';
}

static bool option(struct fuzz_plan *plan, const char *arg)
{
	static const char prefix[] = "-artifact_prefix=";
	uint64_t n;
	if (number(arg, "-runs=", &plan->runs) || number(arg, "-seed=", &plan->seed)) {
		return true;
	}
	if (number(arg, "-workers=", &n) && n > 0) {
		plan->workers = n < FUZZ_WORKERS ? (unsigned)n : FUZZ_WORKERS;
		return true;
	}
	if (strncmp(arg, prefix, strlen(prefix)) == 0) {
		plan->prefix = arg + strlen(prefix);
		return true;
	}
	return false;
}

static int explore(struct fuzz_plan *plan)
{
	fuzz_corpus_sort(&corpus);
	for (size_t i = 0; i < corpus.count; i++) {
		size_t len = corpus.inputs[i].len;
		plan->max_len = len > plan->max_len ? len : plan->max_len;
	}
	if (corpus.count == 0) {
		fprintf(stderr, "nothing to begin with\n");
		return 1;
	}
	return fuzz_explore(&corpus, plan);
}

int main(int argc, char **argv)
{
	struct fuzz_plan plan = {.seed = 1, .workers = 1, .max_len = MAX_LEN, .prefix = ""};
	int status = 0;
	if (argc < 2) {
		fprintf(stderr, "usage: %s [-runs=NUMBER -seed=NUMBER ...] FILE|FOLDER...\n",
		        argv[0]);
		return 2;
	}
	if (LLVMFuzzerInitialize != NULL) {
		LLVMFuzzerInitialize(&argc, &argv);
	}
	for (int i = 1; i < argc; i++) {
		bool good = argv[i][0] == '-' ? option(&plan, argv[i]) : run_path(argv[i]) == 0;
		if (!good && argv[i][0] == '-') {
			fprintf(stderr, "%s: no such option\n", argv[i]);
		}
		status |= !good;
	}
	printf("%zu inputs\n", corpus.count);
	if (status == 0 && plan.runs > 0) {
		status = explore(&plan);
	}
	fuzz_corpus_free(&corpus);
	return status;
}
