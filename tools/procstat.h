/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to tools: what a process has used so far, read from /proc. CPU time comes from
 * /proc/PID/stat and so in clock ticks (10 ms), voluntary context switches are summed over its
 * threads.
 */
#ifndef OB__PROCSTAT_H
#define OB__PROCSTAT_H

#include <stdint.h>
#include <sys/types.h>

struct ob__proc_use {
	double user_us;
	double sys_us;
	uint64_t switches;
};

/* Reads the use of pid. 0, or -1 if there is no such process or /proc can't be read. */
int ob__proc_read(pid_t pid, struct ob__proc_use *use);

/* The same for the calling process, in microseconds, from getrusage. */
void ob__proc_self(struct ob__proc_use *use);

#endif
