/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "tools/procstat.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int read_text(const char *path, char *text, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		return -1;
	}
	ssize_t n = read(fd, text, cap - 1);
	close(fd);
	if (n <= 0) {
		return -1;
	}
	text[n] = '\0';
	return 0;
}

static uint64_t count_switches(pid_t pid)
{
	static const char field[] = "\nvoluntary_ctxt_switches:";
	char path[384];
	char text[4096];
	uint64_t sum = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	if (!dir) {
		return 0;
	}
	for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		if (e->d_name[0] == '.') {
			continue;
		}
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, e->d_name);
		if (read_text(path, text, sizeof(text)) < 0) {
			continue;
		}
		const char *at = strstr(text, field);
		if (at) {
			sum += strtoull(at + sizeof(field) - 1, NULL, 10);
		}
	}
	closedir(dir);
	return sum;
}

int ob__proc_read(pid_t pid, struct ob__proc_use *use)
{
	char path[64];
	char text[1024];
	uint64_t user;
	uint64_t sys;
	double tick_us = 1e6 / (double)sysconf(_SC_CLK_TCK);

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_text(path, text, sizeof(text)) < 0) {
		return -1;
	}
	/* The name in field 2 may hold spaces and brackets, so count from the last bracket. */
	const char *rest = strrchr(text, ')');
	if (!rest ||
	    sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
	           &user, &sys) != 2) {
		return -1;
	}
	use->user_us = (double)user * tick_us;
	use->sys_us = (double)sys * tick_us;
	use->switches = count_switches(pid);
	return 0;
}

void ob__proc_self(struct ob__proc_use *use)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	use->user_us = (double)ru.ru_utime.tv_sec * 1e6 + (double)ru.ru_utime.tv_usec;
	use->sys_us = (double)ru.ru_stime.tv_sec * 1e6 + (double)ru.ru_stime.tv_usec;
	use->switches = (uint64_t)ru.ru_nvcsw;
}
