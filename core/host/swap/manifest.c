/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */
#include "host/swap/manifest.h"
#include <stdlib.h>
struct ob__manifest {
	int x;
};
struct ob__manifest *ob__manifest_open(const char *dir)
{
	(void)dir;
	return calloc(1, sizeof(struct ob__manifest));
}
void ob__manifest_close(struct ob__manifest *m)
{
	free(m);
}
bool ob__manifest_quarantined(const struct ob__manifest *m, const char *name, const char *sha256,
                              char *why, size_t cap)
{
	(void)m;
	(void)name;
	(void)sha256;
	(void)why;
	(void)cap;
	return false;
}
int ob__manifest_release(struct ob__manifest *m, const char *name, const char *sha256)
{
	(void)m;
	(void)name;
	(void)sha256;
	return 0;
}
bool ob__manifest_good(const struct ob__manifest *m, const char *name, const char *except,
                       char *path, size_t path_cap, char sha256[65])
{
	(void)m;
	(void)name;
	(void)except;
	(void)path;
	(void)path_cap;
	(void)sha256;
	return false;
}
int ob__manifest_trial(struct ob__manifest *m, const struct ob__manifest_build *builds, size_t len)
{
	(void)m;
	(void)builds;
	(void)len;
	return 0;
}
int ob__manifest_trial_end(struct ob__manifest *m)
{
	(void)m;
	return 0;
}
int ob__manifest_good_add(struct ob__manifest *m, const struct ob__manifest_build *build)
{
	(void)m;
	(void)build;
	return 0;
}
