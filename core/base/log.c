/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "lib/ws.h"

#define LINE_MAX_BYTES 1024u
#define WORD_MAX_BYTES 33u /* of a subsystem's name */
#define RING_LINES     4096u
#define RING_LINES_MAX (1u << 20)
#define BATCH          64u /* lines in one writev() */
#define LINGER_MS      50u /* how long lines that are no errors gather before they are written */
#define WRITABLE_MS    1000
#define CLOSE_SECONDS  5 /* how long ob__log_close() waits for a stuck disk or terminal */

struct line {
	uint16_t len;
	uint8_t level;
	char text[LINE_MAX_BYTES];
};

struct sink {
	int fd;     /* -1: not there */
	char *path; /* NULL: stderr */
	int level;  /* lines below it are not for this sink */
};

enum { SINK_ALL, SINK_ERRORS, SINK_STDERR, SINKS };

/* What the writer thread works on.  Slots [head, tail) are the writer's, the rest belongs to who
 * holds the lock; everything else is under the lock but for the sinks, which are the writer's. */
struct writer {
	pthread_t thread;
	pthread_cond_t wake; /* for the writer */
	pthread_cond_t done; /* from the writer */
	struct line *ring;
	uint64_t head;
	uint64_t tail;
	size_t lines;
	uint64_t dropped;
	uint64_t dropped_told;
	bool sleeping; /* without a time limit: the next line must wake it */
	bool urgent;
	bool reopen;
	bool closing;
	bool ended;
	struct sink sinks[SINKS];
};

/* The one log of the process. */
static struct {
	pthread_mutex_t lock;
	struct writer *writer; /* NULL: lines go straight to stderr */
	atomic_uint_fast64_t written;
	atomic_uint_fast64_t dropped;
	atomic_uint_fast64_t write_errors;
	atomic_uint_fast64_t suppressed;
} the_log = {.lock = PTHREAD_MUTEX_INITIALIZER};

atomic_int ob__log_lowest = OB_LOG_INFO;

static const char *const level_words[] = {"debug", "info", "notice", "warning", "error"};

/* ---------------------------------------------------------------- levels */

static int clamp_level(int level)
{
	if (level < OB_LOG_DEBUG) {
		return OB_LOG_DEBUG;
	}
	return level > OB_LOG_ERROR ? OB_LOG_ERROR : level;
}

void ob__log_set_level(int level)
{
	atomic_store_explicit(&ob__log_lowest, clamp_level(level), memory_order_relaxed);
}

int ob__log_level_from(const char *word)
{
	for (int i = OB_LOG_DEBUG; word && i <= OB_LOG_ERROR; i++) {
		if (strcmp(word, level_words[i]) == 0) {
			return i;
		}
	}
	return word && strcmp(word, "warn") == 0 ? OB_LOG_WARNING : -1;
}

const char *ob__log_level_word(int level)
{
	return level_words[clamp_level(level)];
}

/* ---------------------------------------------------------------- one line */

/* A module's name can be one, so it is not trusted either. */
static void clean_word(char out[WORD_MAX_BYTES], const char *word)
{
	size_t n = 0;
	for (; word && *word && n + 1 < WORD_MAX_BYTES; word++) {
		out[n++] = *word > 0x20 && *word < 0x7f && *word != ']' ? *word : '?';
	}
	out[n] = '\0';
}

static size_t put_head(char *out, size_t cap, int level, const char *subsystem)
{
	struct timespec now;
	struct tm tm;
	char word[WORD_MAX_BYTES];
	clean_word(word, subsystem);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	int n = snprintf(out, cap, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s [%s] ",
	                 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
	                 tm.tm_sec, (int)(now.tv_nsec / 1000000), level_words[level],
	                 word[0] ? word : "-");
	return n < 0 ? 0 : (size_t)n;
}

/* How many of the bytes at `s` form one printable character; 0: the first one must be escaped. */
static size_t printable(const uint8_t *s, size_t len)
{
	if (*s < 0x80) {
		return *s >= 0x20 && *s != 0x7f;
	}
	size_t n = *s >= 0xf0 ? 4 : *s >= 0xe0 ? 3 : 2;
	if (n > len || !ob__utf8_ok(s, n)) {
		return 0;
	}
	bool c1_control = s[0] == 0xc2 && s[1] < 0xa0;
	return c1_control ? 0 : n;
}

/* Appends `text` at out[at], escaped and cut so that the line ends within `cap` bytes. */
static size_t put_text(char *out, size_t at, size_t cap, const char *text, bool cut)
{
	static const char more[] = "...\n";
	const uint8_t *s = (const uint8_t *)text;
	size_t len = strlen(text);
	while (len > 0) {
		size_t n = printable(s, len);
		size_t need = n ? n : 4;
		if (at + need + sizeof(more) > cap) {
			cut = true;
			break;
		}
		if (n) {
			memcpy(out + at, s, n);
		} else {
			snprintf(out + at, 5, "\\x%02x", *s);
			n = 1;
		}
		at += need;
		s += n;
		len -= n;
	}
	const char *end = cut ? more : "\n";
	memcpy(out + at, end, strlen(end));
	return at + strlen(end);
}

static void __attribute__((format(printf, 4, 0)))
format_line(struct line *line, int level, const char *subsystem, const char *fmt, va_list ap)
{
	char text[LINE_MAX_BYTES];
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	if (n < 0) {
		text[0] = '\0';
	}
	size_t at = put_head(line->text, sizeof(line->text), level, subsystem);
	bool cut = n >= (int)sizeof(text);
	line->len = (uint16_t)put_text(line->text, at, sizeof(line->text), text, cut);
	line->level = (uint8_t)level;
}

/* ---------------------------------------------------------------- writing */

/* A terminal or pipe may have been made non-blocking by whoever else has it. */
static bool wait_writable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	return poll(&p, 1, WRITABLE_MS) == 1;
}

/* All of it, or a negative errno. */
static int write_all(int fd, struct iovec *iov, int count)
{
	while (count > 0) {
		ssize_t n = writev(fd, iov, count);
		if (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_writable(fd)))) {
			continue;
		}
		if (n < 0) {
			return -errno;
		}
		while (count > 0 && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static void write_sink(const struct sink *sink, struct line *const *lines, size_t count)
{
	struct iovec iov[BATCH];
	int n = 0;
	if (sink->fd < 0) {
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (lines[i]->level >= sink->level) {
			iov[n++] = (struct iovec){lines[i]->text, lines[i]->len};
		}
	}
	if (write_all(sink->fd, iov, n) != 0) {
		atomic_fetch_add(&the_log.write_errors, 1);
	}
}

static void write_lines(struct writer *w, struct line *const *lines, size_t count)
{
	for (size_t i = 0; i < SINKS; i++) {
		write_sink(&w->sinks[i], lines, count);
	}
	atomic_fetch_add(&the_log.written, count);
}

/* A line of the writer itself; it never goes through the ring. */
static void __attribute__((format(printf, 3, 4)))
say(struct writer *w, int level, const char *fmt, ...)
{
	struct line line;
	va_list ap;
	va_start(ap, fmt);
	format_line(&line, level, "log", fmt, ap);
	va_end(ap);
	struct line *one = &line;
	write_lines(w, &one, 1);
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	return fd < 0 ? -errno : fd;
}

static void reopen_files(struct writer *w)
{
	for (size_t i = 0; i < SINKS; i++) {
		struct sink *sink = &w->sinks[i];
		if (!sink->path) {
			continue;
		}
		int fd = open_file(sink->path);
		if (fd < 0) {
			atomic_fetch_add(&the_log.write_errors, 1);
			say(w, OB_LOG_ERROR, "%s: can't be opened anew, the old file stays (%s)",
			    sink->path, ob__strerror(fd));
			continue;
		}
		close(sink->fd);
		sink->fd = fd;
	}
}

/* ---------------------------------------------------------------- the writer thread */

/* Under the lock; a line that tells of missing ones counts. */
static bool lines_wait(const struct writer *w)
{
	return w->head < w->tail || w->dropped > w->dropped_told;
}

/* Under the lock: until there is something to do, and then a little longer unless it is urgent. */
static void wait_for_work(struct writer *w)
{
	w->sleeping = true;
	while (!lines_wait(w) && !w->reopen && !w->closing) {
		pthread_cond_wait(&w->wake, &the_log.lock);
	}
	w->sleeping = false;

	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LINGER_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (!w->urgent && !w->reopen && !w->closing) {
		if (pthread_cond_timedwait(&w->wake, &the_log.lock, &until) == ETIMEDOUT) {
			break;
		}
	}
	w->urgent = false;
}

/* Under the lock, which it lets go while it writes. */
static void write_batch(struct writer *w)
{
	struct line *lines[BATCH];
	size_t count = 0;
	for (uint64_t i = w->head; i < w->tail && count < BATCH; i++) {
		lines[count++] = &w->ring[i % w->lines];
	}
	uint64_t missing = w->dropped - w->dropped_told;
	w->dropped_told = w->dropped;
	pthread_mutex_unlock(&the_log.lock);
	write_lines(w, lines, count);
	if (missing > 0) {
		say(w, OB_LOG_WARNING, "%llu lines are missing, the log's ring was full",
		    (unsigned long long)missing);
	}
	pthread_mutex_lock(&the_log.lock);
	w->head += count;
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	pthread_mutex_lock(&the_log.lock);
	for (;;) {
		wait_for_work(w);
		uint64_t until = w->tail;
		do {
			write_batch(w);
		} while (w->head < until);
		if (w->closing && !lines_wait(w)) {
			break;
		}
		if (w->reopen) {
			w->reopen = false;
			pthread_mutex_unlock(&the_log.lock);
			reopen_files(w);
			pthread_mutex_lock(&the_log.lock);
		}
	}
	w->ended = true;
	pthread_cond_signal(&w->done);
	pthread_mutex_unlock(&the_log.lock);
	return NULL;
}

/* Under the lock. */
static void push(struct writer *w, const struct line *line)
{
	uint64_t used = w->tail - w->head;
	if (used == w->lines) {
		w->dropped++;
		atomic_fetch_add(&the_log.dropped, 1);
		return;
	}
	struct line *slot = &w->ring[w->tail % w->lines];
	slot->len = line->len;
	slot->level = line->level;
	memcpy(slot->text, line->text, line->len);
	w->tail++;

	bool urgent = line->level >= OB_LOG_ERROR || used + 1 >= w->lines / 2;
	if (w->sleeping || (urgent && !w->urgent)) {
		w->sleeping = false;
		w->urgent = w->urgent || urgent;
		pthread_cond_signal(&w->wake);
	}
}

void ob__vlog_at(int level, const char *subsystem, const char *fmt, va_list ap)
{
	level = clamp_level(level);
	if (!ob__log_on(level)) {
		return;
	}
	int saved = errno;
	struct line line;
	format_line(&line, level, subsystem, fmt, ap);
	pthread_mutex_lock(&the_log.lock);
	bool straight = !the_log.writer;
	if (!straight) {
		push(the_log.writer, &line);
	}
	pthread_mutex_unlock(&the_log.lock);
	if (straight) {
		struct iovec iov = {line.text, line.len};
		bool failed = write_all(STDERR_FILENO, &iov, 1) != 0;
		atomic_fetch_add(failed ? &the_log.write_errors : &the_log.written, 1);
	}
	errno = saved;
}

void ob__log_at(int level, const char *subsystem, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	ob__vlog_at(level, subsystem, fmt, ap);
	va_end(ap);
}

/* ---------------------------------------------------------------- open and close */

/* `mkdir -p`: changes `path` while it works and restores it.  0 or a negative errno. */
static int make_dirs(char *path)
{
	for (char *p = path + 1;; p++) {
		if (*p != '/' && *p != '\0') {
			continue;
		}
		char end = *p;
		*p = '\0';
		int err = mkdir(path, 0750) == 0 ? 0 : -errno;
		struct stat st;
		if (err != 0 && stat(path, &st) == 0) {
			err = S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
		}
		*p = end;
		if (err != 0) {
			return err;
		}
		if (end == '\0') {
			return 0;
		}
	}
}

static void writer_free(struct writer *w)
{
	if (!w) {
		return;
	}
	for (size_t i = 0; i < SINKS; i++) {
		if (w->sinks[i].path && w->sinks[i].fd >= 0) {
			close(w->sinks[i].fd);
		}
		free(w->sinks[i].path);
	}
	free(w->ring);
	free(w);
}

static int open_sink(struct sink *sink, const char *dir, const char *name, const char *suffix,
                     char *err, size_t err_cap)
{
	if (asprintf(&sink->path, "%s/%s%s", dir, name, suffix) < 0) {
		sink->path = NULL;
		snprintf(err, err_cap, "%s", ob__strerror(-ENOMEM));
		return -ENOMEM;
	}
	sink->fd = open_file(sink->path);
	if (sink->fd < 0) {
		snprintf(err, err_cap, "%s: can't be opened for writing (%s)", sink->path,
		         ob__strerror(sink->fd));
		return sink->fd;
	}
	return 0;
}

static int open_files(struct writer *w, const struct ob__log_options *options, char *err,
                      size_t err_cap)
{
	if (!options->dir) {
		return 0;
	}
	if (!options->dir[0] || !options->name || !options->name[0] || strchr(options->name, '/')) {
		snprintf(err, err_cap, "a log needs a directory and a name without \"/\"");
		return -EINVAL;
	}
	char dir[PATH_MAX];
	if (snprintf(dir, sizeof(dir), "%s", options->dir) >= (int)sizeof(dir)) {
		snprintf(err, err_cap, "the log's directory has too long a name");
		return -ENAMETOOLONG;
	}
	for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--) {
		dir[n - 1] = '\0';
	}
	int code = make_dirs(dir);
	if (code != 0) {
		snprintf(err, err_cap, "%s: can't be created (%s)", dir, ob__strerror(code));
		return code;
	}
	code = open_sink(&w->sinks[SINK_ALL], dir, options->name, ".log", err, err_cap);
	if (code != 0) {
		return code;
	}
	return open_sink(&w->sinks[SINK_ERRORS], dir, options->name, ".error.log", err, err_cap);
}

static struct writer *writer_new(const struct ob__log_options *options)
{
	struct writer *w = calloc(1, sizeof(*w));
	if (!w) {
		return NULL;
	}
	w->lines = options->ring_lines ? options->ring_lines : RING_LINES;
	if (w->lines > RING_LINES_MAX) {
		w->lines = RING_LINES_MAX;
	}
	w->sinks[SINK_ALL].fd = -1;
	w->sinks[SINK_ERRORS] = (struct sink){.fd = -1, .level = OB_LOG_WARNING};
	w->sinks[SINK_STDERR].fd = options->to_stderr || !options->dir ? STDERR_FILENO : -1;
	w->ring = calloc(w->lines, sizeof(*w->ring));
	if (!w->ring) {
		free(w);
		return NULL;
	}
	return w;
}

/* Signals are for the loop's thread, so the writer has them all blocked. */
static int start_thread(struct writer *w)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_cond_init(&w->done, &attr);
	pthread_condattr_destroy(&attr);

	sigset_t all;
	sigset_t old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&w->thread, NULL, writer_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

int ob__log_open(const struct ob__log_options *options, char *err, size_t err_cap)
{
	struct writer *w = writer_new(options);
	if (!w) {
		snprintf(err, err_cap, "%s", ob__strerror(-ENOMEM));
		return -ENOMEM;
	}
	int code = open_files(w, options, err, err_cap);
	if (code != 0) {
		writer_free(w);
		return code;
	}
	code = start_thread(w);
	if (code != 0) {
		snprintf(err, err_cap, "the log's thread can't be started (%s)",
		         ob__strerror(code));
		writer_free(w);
		return code;
	}
	ob__log_set_level(options->level);
	ob__log_close();
	pthread_mutex_lock(&the_log.lock);
	the_log.writer = w;
	pthread_mutex_unlock(&the_log.lock);
	return 0;
}

void ob__log_close(void)
{
	pthread_mutex_lock(&the_log.lock);
	struct writer *w = the_log.writer;
	if (!w) {
		pthread_mutex_unlock(&the_log.lock);
		return;
	}
	the_log.writer = NULL;
	w->closing = true;
	pthread_cond_signal(&w->wake);
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CLOSE_SECONDS;
	int err = 0;
	while (!w->ended && err == 0) {
		err = pthread_cond_timedwait(&w->done, &the_log.lock, &until);
	}
	bool ended = w->ended;
	pthread_mutex_unlock(&the_log.lock);

	if (!ended) {
		/* Stuck in a write that no one can interrupt; what it works on must stay. */
		pthread_detach(w->thread);
		return;
	}
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->done);
	writer_free(w);
}

void ob__log_reopen(void)
{
	pthread_mutex_lock(&the_log.lock);
	if (the_log.writer) {
		the_log.writer->reopen = true;
		pthread_cond_signal(&the_log.writer->wake);
	}
	pthread_mutex_unlock(&the_log.lock);
}

/* ---------------------------------------------------------------- numbers and limits */

void ob__log_get_stats(struct ob__log_stats *stats)
{
	*stats = (struct ob__log_stats){
		.written = atomic_load(&the_log.written),
		.dropped = atomic_load(&the_log.dropped),
		.write_errors = atomic_load(&the_log.write_errors),
		.suppressed = atomic_load(&the_log.suppressed),
	};
}

bool ob__log_allow(struct ob__log_limit *limit, uint32_t burst, uint64_t now_ms, uint32_t *missed)
{
	*missed = 0;
	if (limit->in_window == 0 || now_ms - limit->window_start >= OB__LOG_LIMIT_MS) {
		limit->window_start = now_ms;
		limit->in_window = 0;
	}
	if (limit->in_window >= burst) {
		if (limit->missed < UINT32_MAX) {
			limit->missed++;
		}
		atomic_fetch_add(&the_log.suppressed, 1);
		return false;
	}
	limit->in_window++;
	*missed = limit->missed;
	limit->missed = 0;
	return true;
}
