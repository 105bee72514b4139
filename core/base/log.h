/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F1.  The log of the process.
 *
 * A line is formatted by the thread that has something to say, into a slot of a bounded ring, and
 * written by one writer thread, so that a slow disk never stops the loop.  When the ring is full
 * the line is dropped and counted; the writer says how many are missing once there is room again.
 * Lines that would repeat without end go through a limiter of their own.
 *
 * Until ob__log_open() lines go straight to stderr.  A line is:
 *
 *     2026-11-21T20:15:03.120Z notice [link] route_1: up (127.0.0.1:21002)
 *
 * Control characters in arguments are written as \xNN, so no one outside can forge a line.
 * There is one log per process; that is this file's only global.
 */

#ifndef OB__LOG_H
#define OB__LOG_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

struct ob__log_options {
	const char *dir;   /* NULL: stderr only; created with its parents when absent */
	const char *name;  /* DIR/NAME.log has all lines, DIR/NAME.error.log warnings and errors */
	int level;         /* enum ob_log_level */
	bool to_stderr;    /* besides the files */
	size_t ring_lines; /* 0: 4096 */
};

struct ob__log_stats {
	uint64_t written;
	uint64_t dropped;      /* the ring was full */
	uint64_t write_errors; /* the disk said no */
	uint64_t suppressed;   /* by limiters */
};

/* Starts the writer. 0, or a negative errno with a sentence in err; then stderr stays. */
int ob__log_open(const struct ob__log_options *options, char *err, size_t err_cap);

/* Writes what is in the ring and ends the writer; later lines go to stderr.  Safe twice. */
void ob__log_close(void);

/* Asks the writer to open its files anew (log rotation, USR1). From any thread. */
void ob__log_reopen(void);

void ob__log_set_level(int level);

extern atomic_int ob__log_lowest; /* private to the next: the lowest level that is written */

static inline int ob__log_level(void)
{
	return atomic_load_explicit(&ob__log_lowest, memory_order_relaxed);
}

void ob__log_get_stats(struct ob__log_stats *stats);

/* "debug", "info", "notice", "warning" (or "warn"), "error"; -1 for another word. */
int ob__log_level_from(const char *word);
const char *ob__log_level_word(int level);

/* One line of at most 1024 bytes; longer ones are cut.  `subsystem` is a short word,
 * copied. */
void ob__log_at(int level, const char *subsystem, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void ob__vlog_at(int level, const char *subsystem, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

#define ob__log_on(level) ((level) >= ob__log_level())
#define ob__error(...)    ob__log_at(OB_LOG_ERROR, __VA_ARGS__)
#define ob__warning(...)  ob__log_at(OB_LOG_WARNING, __VA_ARGS__)
#define ob__notice(...)   ob__log_at(OB_LOG_NOTICE, __VA_ARGS__)
#define ob__info(...)     ob__log_at(OB_LOG_INFO, __VA_ARGS__)
#define ob__debug(...)                                         \
	do {                                                   \
		if (ob__log_on(OB_LOG_DEBUG)) {                \
			ob__log_at(OB_LOG_DEBUG, __VA_ARGS__); \
		}                                              \
	} while (0)

#define OB__LOG_LIMIT_MS 10000u

/* At most `burst` lines per ten seconds of what repeats: returns true when the line may be
 * written, and then *missed is how many were not since the last one.  Zeroed = ready. */
struct ob__log_limit {
	uint64_t window_start;
	uint32_t in_window;
	uint32_t missed;
};
bool ob__log_allow(struct ob__log_limit *limit, uint32_t burst, uint64_t now_ms, uint32_t *missed);

#endif
