/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Fuzz targets without a fuzzer: runs the target on each file named, and on each file in each
 * folder named.  A finding aborts, as it does under the fuzzer.
 */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "t/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

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
	free(data);
	return 0;
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

static int run_path(const char *path, unsigned *count);

static int run_folder(const char *path, unsigned *count)
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
		if (run_path(name, count) < 0) {
			rc = -1;
		}
	}
	closedir(dir);
	return rc;
}

static int run_path(const char *path, unsigned *count)
{
	struct stat st;
	if (stat(path, &st) < 0) {
		return complain(path);
	}
	if (S_ISDIR(st.st_mode)) {
		return run_folder(path, count);
	}
	(*count)++;
	return run_file(path, &st);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE|FOLDER...\n", argv[0]);
		return 2;
	}
	if (LLVMFuzzerInitialize != NULL) {
		LLVMFuzzerInitialize(&argc, &argv);
	}
	unsigned count = 0;
	int status = 0;
	for (int i = 1; i < argc; i++) {
		if (run_path(argv[i], &count) < 0) {
			status = 1;
		}
	}
	printf("%u inputs\n", count);
	return status;
}
