/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/probe.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include <obhost/mock.h>

#include "host/swap/open.h"
#include "host/swap/probe.h"
#include "host/swap/probe_wire.h"
#include "lib/blob.h"
#include "lib/ws.h"

#define FDS_MAX        64
#define SIGNALS_MAX    64
#define THREAD_WAIT_MS 50
#define KEYS_MAX       2048
#define FILE_MAX       (1u << 20)
#define NICER          10

#if defined(__x86_64__)
#define OUR_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_AUDIT_ARCH AUDIT_ARCH_AARCH64
#endif

/* What there is in the process, to be compared. */
struct inventory {
	int threads;
	int keys;
	bool fds[FDS_MAX];
	struct sigaction actions[SIGNALS_MAX + 1];
};

struct child {
	bool whole; /* this is obhost itself */
	json_t *task;
	uint8_t *state;
	size_t state_len;
	json_t *conf;
	struct ob__load_job job;
	ob_mock *mock;
	ob_module_desc desc;
	struct inventory before;
	bool done; /* a report was sent */
	char notes[256];
	char resident[160];
	char provides[256];
	char needs[256];
	char transports[256];
	char brings[256];
	char listens[256];
	char version[64];
};

/* ---- talking to the host ---- */

static bool read_all(void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t n = read(OB__PROBE_FD, at, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static void tell(enum ob__probe_frame kind, const char *text)
{
	uint8_t buf[OB__PROBE_REPORT_MAX + 4];
	size_t len = strlen(text);
	uint32_t n = (uint32_t)len + 1;

	if (len > OB__PROBE_REPORT_MAX - 1) {
		return;
	}
	memcpy(buf, &n, sizeof(n));
	buf[4] = (uint8_t)kind;
	memcpy(buf + 5, text, len);
	/* The socket holds more than all of a rehearsal's frames; if the host is gone, so are we.
	 */
	(void)send(OB__PROBE_FD, buf, len + 5, MSG_NOSIGNAL);
}

static void phase(const char *word)
{
	tell(OB__PROBE_PHASE, word);
}

static uint8_t *read_frame(enum ob__probe_frame kind, size_t max, size_t *len)
{
	uint32_t n;
	uint8_t head;

	if (!read_all(&n, sizeof(n)) || !read_all(&head, 1) || head != (uint8_t)kind || n == 0 ||
	    n - 1 > max) {
		return NULL;
	}
	uint8_t *data = malloc(n);
	if (data == NULL || !read_all(data, n - 1)) {
		free(data);
		return NULL;
	}
	data[n - 1] = 0;
	*len = n - 1;
	return data;
}

static const char *task_text(const struct child *c, const char *key)
{
	const char *text = json_string_value(json_object_get(c->task, key));

	return text != NULL ? text : "";
}

static int read_task(struct child *c)
{
	size_t len;
	uint8_t *data = read_frame(OB__PROBE_TASK, OB__PROBE_TASK_MAX, &len);

	c->task = data != NULL ? json_loadb((const char *)data, len, 0, NULL) : NULL;
	free(data);
	return c->task != NULL ? 0 : -1;
}

static int read_state(struct child *c)
{
	if (json_is_true(json_object_get(c->task, "state"))) {
		c->state = read_frame(OB__PROBE_STATE, OB__PROBE_FRAME_MAX, &c->state_len);
		if (c->state == NULL) {
			return -1;
		}
	}
	c->conf = json_loads(task_text(c, "conf"), 0, NULL);
	return c->conf != NULL ? 0 : -1;
}

/* ---- the report ---- */

/* A text of the module's, as JSON can hold it. */
static void clean(char *out, size_t cap, const char *text)
{
	snprintf(out, cap, "%s", text != NULL ? text : "");
	ob__make_utf8(out);
}

static void send_report(struct child *c, json_t *report)
{
	char *dump = report != NULL ? json_dumps(report, JSON_COMPACT) : NULL;

	if (dump != NULL) {
		tell(OB__PROBE_REPORT, dump);
		c->done = true;
	}
	free(dump);
	json_decref(report);
}

static void report_elsewhere(struct child *c, enum ob__probe_frame kind, const char *text)
{
	tell(kind, text);
	c->done = true;
}

static void report_refusal(struct child *c, const struct ob__load_refusal *r)
{
	send_report(c, json_pack("{s:b, s:s, s:s, s:s, s:s, s:s}", "ok", 0, "code", r->code,
	                         "found", r->found, "expected", r->expected, "remedy", r->remedy,
	                         "message", r->message));
}

/* The module said no: in its own words, and what it logged last. */
static int refuse_hook(struct child *c, const char *code, const char *remedy)
{
	struct ob__load_refusal r = {0};
	const char *logged = "";
	const ob_mock_line *line;

	for (size_t i = 0; (line = ob_mock_log_at(c->mock, i)) != NULL; i++) {
		logged = line->level >= OB_LOG_WARNING ? line->text : logged;
	}
	ob__refuse(&r, "probe", code, c->job.file, ob_mock_error(c->mock), NULL, remedy,
	           "%s: in its rehearsal: %s%s%s", c->job.file, ob_mock_error(c->mock),
	           logged[0] != '\0' ? "; it logged: " : "", logged);
	report_refusal(c, &r);
	return -1;
}

__attribute__((format(printf, 2, 3))) static void note(struct child *c, const char *fmt, ...)
{
	size_t at = strlen(c->notes);
	char text[192];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(c->notes + at, sizeof(c->notes) - at, "%s%s", at > 0 ? "; " : "", text);
}

/* ---- little of everything ---- */

/* The node's clients come first.  A tenth of a busy processor is left, so the deadline means what
 * it says; with SCHED_IDLE it would not.  Whatever forbids this (a sandbox) may. */
static void give_way(void)
{
	struct sched_param param = {.sched_priority = 0};
	int mine = getpriority(PRIO_PROCESS, 0);

	(void)setpriority(PRIO_PROCESS, 0, mine + NICER);
	(void)sched_setscheduler(0, SCHED_BATCH, &param);
}

static void limit(int resource, rlim_t most)
{
	struct rlimit r = {most, most};

	(void)setrlimit(resource, &r);
}

#ifdef OUR_AUDIT_ARCH

#define LOAD(offset)     BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
#define IS(value, t, f)  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (t), (f))
#define ANSWER(value)    BPF_STMT(BPF_RET | BPF_K, (value))
#define LOW_WORD(member) ((uint32_t)offsetof(struct seccomp_data, member)) /* little-endian */

/* socket() of the internet families, and connect, bind and listen of anything, answer EACCES. */
static bool no_network(void)
{
	struct sock_filter code[] = {
		LOAD(offsetof(struct seccomp_data, arch)),
		IS(OUR_AUDIT_ARCH, 0, 9), /* another architecture's calls: refused */
		LOAD(offsetof(struct seccomp_data, nr)),
		IS(__NR_socket, 4, 0),
		IS(__NR_connect, 6, 0),
		IS(__NR_bind, 5, 0),
		IS(__NR_listen, 4, 0),
		IS(__NR_io_uring_setup, 3, 4), /* would do all of it unseen */
		LOAD(LOW_WORD(args[0])),
		IS(AF_INET, 1, 0),
		IS(AF_INET6, 0, 1),
		ANSWER(SECCOMP_RET_ERRNO | EACCES),
		ANSWER(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof(code) / sizeof(code[0]), code};

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

#else

static bool no_network(void)
{
	return false;
}

#endif

static void close_others(void)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, OB__PROBE_FD + 1, ~0u, 0) == 0) {
		return;
	}
#endif
	for (int fd = OB__PROBE_FD + 1; fd < 1024; fd++) {
		close(fd);
	}
}

static void confine(struct child *c)
{
	json_int_t ms = json_integer_value(json_object_get(c->task, "timeout_ms"));

	(void)signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit fails */
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, FILE_MAX);
	limit(RLIMIT_NOFILE, FDS_MAX);
	limit(RLIMIT_CPU, (rlim_t)(ms / 1000 + 2));
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!no_network()) {
		note(c, "the rehearsal could not be cut off from the network (no seccomp)");
	}
}

/* ---- before and after ---- */

static int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = 0;

	for (const struct dirent *e = NULL; dir != NULL && (e = readdir(dir)) != NULL;) {
		n += e->d_name[0] != '.';
	}
	if (dir != NULL) {
		closedir(dir);
	}
	return n;
}

#ifdef __GLIBC__

/* glibc answers EINVAL for a key that does not exist.  (To make all that are free, as below, takes
 * it half a million looks.) */
static int count_keys(void)
{
	int n = 0;

	for (pthread_key_t key = 0; key < PTHREAD_KEYS_MAX; key++) {
		n += pthread_setspecific(key, pthread_getspecific(key)) == 0;
	}
	return n;
}

#else

static int count_keys(void)
{
	static pthread_key_t keys[KEYS_MAX];
	int n = 0;

	while (n < KEYS_MAX && pthread_key_create(&keys[n], NULL) == 0) {
		n++;
	}
	for (int i = 0; i < n; i++) {
		pthread_key_delete(keys[i]);
	}
	return KEYS_MAX - n;
}

#endif

static void *no_work(void *arg)
{
	return arg;
}

/* A sanitizer's runtime makes a thread of its own together with the first one. */
static void settle(void)
{
	pthread_t thread;

	if (OB_SANITIZER != 0 && pthread_create(&thread, NULL, no_work, NULL) == 0) {
		pthread_join(thread, NULL);
	}
}

static void take_inventory(struct inventory *inv)
{
	inv->threads = count_threads();
	inv->keys = count_keys();
	for (int fd = 0; fd < FDS_MAX; fd++) {
		inv->fds[fd] = fcntl(fd, F_GETFD) >= 0;
	}
	for (int signum = 1; signum <= SIGNALS_MAX; signum++) {
		if (sigaction(signum, NULL, &inv->actions[signum]) != 0) {
			inv->actions[signum] = (struct sigaction){.sa_handler = SIG_DFL};
		}
	}
}

/* Threads may need a moment to end after they were told to. */
static int threads_left(const struct inventory *before)
{
	int left = count_threads() - before->threads;

	for (int i = 0; left > 0 && i < THREAD_WAIT_MS; i++) {
		struct timespec ms = {0, 1000000};
		nanosleep(&ms, NULL);
		left = count_threads() - before->threads;
	}
	return left;
}

static uintptr_t handler_of(const struct sigaction *a)
{
	return (a->sa_flags & SA_SIGINFO) != 0 ? (uintptr_t)a->sa_sigaction
	                                       : (uintptr_t)a->sa_handler;
}

/* The first signal that has another handler than before; one that is only ignored is a note. */
static int changed_signal(struct child *c, const struct inventory *now)
{
	for (int signum = 1; signum <= SIGNALS_MAX; signum++) {
		uintptr_t is = handler_of(&now->actions[signum]);
		if (is == handler_of(&c->before.actions[signum])) {
			continue;
		}
		if (is != (uintptr_t)SIG_DFL && is != (uintptr_t)SIG_IGN) {
			return signum;
		}
		note(c, "it %s signal %d", is == (uintptr_t)SIG_IGN ? "ignores" : "resets", signum);
		c->before.actions[signum] = now->actions[signum]; /* said once */
	}
	return 0;
}

static void note_fds(struct child *c, const struct inventory *now)
{
	char target[96] = "";
	char path[64];
	int left = 0;

	for (int fd = 0; fd < FDS_MAX; fd++) {
		if (!now->fds[fd] || c->before.fds[fd]) {
			continue;
		}
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		ssize_t n = left++ == 0 ? readlink(path, target, sizeof(target) - 1) : 0;
		target[n > 0 ? n : (ssize_t)strlen(target)] = '\0';
	}
	if (left > 0) {
		char shown[96];
		clean(shown, sizeof(shown), target);
		note(c, "%d descriptor%s left open (%s)", left, left == 1 ? " is" : "s are", shown);
	}
}

/* Why the module can't be unmapped while it has these; empty: it can, as far as this goes. */
static void look_after_stop(struct child *c)
{
	struct inventory now;
	int left = threads_left(&c->before);

	take_inventory(&now);
	int signum = changed_signal(c, &now);
	if (left > 0) {
		snprintf(c->resident, sizeof(c->resident), "%d thread%s of it still run%s", left,
		         left == 1 ? "" : "s", left == 1 ? "s" : "");
	} else if (signum != 0) {
		snprintf(c->resident, sizeof(c->resident), "it handles signal %d", signum);
	}
	note_fds(c, &now);
}

/* ---- the module ---- */

struct mapped {
	const char *path;
	bool found;
};

static int look_mapped(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct mapped *q = arg;

	(void)size;
	q->found = q->found || strcmp(info->dlpi_name, q->path) == 0;
	return q->found;
}

static int open_module(struct child *c)
{
	phase("load");
	c->job.op = OB__LOAD_OPEN;
	c->job.failed = false;
	ob__open_run(&c->job);
	if (c->job.failed && !c->whole && strcmp(c->job.refusal.code, "dlopen") == 0) {
		report_elsewhere(c, OB__PROBE_ELSEWHERE, c->job.refusal.message);
		return -1;
	}
	if (c->job.failed) {
		report_refusal(c, &c->job.refusal);
		return -1;
	}
	size_t size = c->job.desc->size;
	c->desc = (ob_module_desc){0};
	memcpy(&c->desc, c->job.desc, size < sizeof(c->desc) ? size : sizeof(c->desc));
	clean(c->provides, sizeof(c->provides), c->desc.provides);
	clean(c->needs, sizeof(c->needs), c->desc.needs);
	clean(c->version, sizeof(c->version), c->desc.version); /* the host reads it as well */
	return 0;
}

static int make_mock(struct child *c)
{
	struct ob__load_refusal r = {0};

	c->mock = ob_mock_new(&c->desc, c->conf);
	if (c->mock == NULL) {
		ob__refuse(&r, "probe", "check", c->job.file, "out of memory", NULL, NULL,
		           "%s: no memory to rehearse it", c->job.file);
		report_refusal(c, &r);
		return -1;
	}
	ob_mock_admin(c->mock, json_is_true(json_object_get(c->task, "admin")));
	ob_mock_rehearse(c->mock, true);
	(void)ob_mock_verbs(c->mock, json_incref(json_object_get(c->task, "verbs")));
	return 0;
}

/* The host's blob as the mock's. */
static ob_mock_blob *convert(struct ob__blob_reader *reader)
{
	ob_mock_blob *blob = ob_mock_blob_new(reader->version);

	for (uint32_t i = 0; blob != NULL && i < reader->sections; i++) {
		const struct ob__blob_section *s = &reader->list[i];
		if (ob_mock_blob_add(blob, s->tag, s->flags, s->data, s->len) != 0) {
			ob_mock_blob_free(blob);
			return NULL;
		}
	}
	return blob;
}

static int load_blob(struct child *c, struct ob__blob_reader *reader)
{
	ob_mock_blob *blob = convert(reader);
	struct ob__load_refusal r = {0};

	if (blob == NULL) {
		ob__refuse(&r, "probe", "load_state", c->job.file, "out of memory", NULL, NULL,
		           "%s: no memory for the state", c->job.file);
		report_refusal(c, &r);
		return -1;
	}
	int rc = ob_mock_load(c->mock, blob);
	if (rc != 0) {
		refuse_hook(c, "load_state",
		            "make load() read what the generation that runs has saved");
	}
	ob_mock_blob_free(blob);
	return rc;
}

static int load_state(struct child *c)
{
	struct ob__blob_reader reader;
	struct ob__load_refusal r = {0};
	const char *why = "";

	phase("load state");
	if (ob__blob_open(&reader, c->state, c->state_len, c->job.name, &why) != 0) {
		ob__refuse(&r, "probe", "load_state", c->job.file, why, "a state blob", NULL,
		           "%s: the state of the generation that runs: %s", c->job.file, why);
		report_refusal(c, &r);
		return -1;
	}
	int rc = load_blob(c, &reader);
	ob__blob_close(&reader);
	return rc;
}

/* One word more in a list, whole or not at all. */
static void add_word(char *list, size_t cap, const char *between, const char *word)
{
	size_t at = strlen(list);

	if (at + strlen(between) + strlen(word) < cap) {
		snprintf(list + at, cap - at, "%s%s", at > 0 ? between : "", word);
	}
}

static void add_listener(struct child *c, const ob_listen_options *o)
{
	char text[sizeof(c->listens)];

	if (o->path != NULL) {
		snprintf(text, sizeof(text), "%s %s with %s", o->transport, o->path, o->codec);
	} else {
		snprintf(text, sizeof(text), "%s %s:%u with %s", o->transport,
		         o->host != NULL ? o->host : "*", o->port, o->codec);
	}
	ob__make_utf8(text);
	add_word(c->listens, sizeof(c->listens), ", ", text);
}

static void note_ways_in(struct child *c)
{
	const ob_transport *t;
	const ob_client_transport *b;
	const ob_listen_options *o;

	c->transports[0] = c->brings[0] = c->listens[0] = '\0';
	for (size_t i = 0; (t = ob_mock_transport_at(c->mock, i)) != NULL; i++) {
		add_word(c->transports, sizeof(c->transports), " ", t->name);
	}
	for (size_t i = 0; (b = ob_mock_client_transport_at(c->mock, i)) != NULL; i++) {
		add_word(c->brings, sizeof(c->brings), " ", b->name);
	}
	for (size_t i = 0; (o = ob_mock_listen_at(c->mock, i)) != NULL; i++) {
		add_listener(c, o);
	}
}

static int run_hooks(struct child *c)
{
	phase("check");
	if (ob_mock_check(c->mock) != 0) {
		return refuse_hook(c, "check", "correct the module's conf");
	}
	phase("start");
	if (ob_mock_start(c->mock) != 0) {
		return refuse_hook(c, "start",
		                   "a start that reaches outside skips that when ob_rehearsing()");
	}
	phase("selftest");
	if (ob_mock_selftest(c->mock) != 0) {
		return refuse_hook(c, "selftest", NULL);
	}
	if (c->state != NULL && load_state(c) != 0) {
		return -1;
	}
	if (ob_mock_registered(c->mock) == 0) {
		note(c, "it registers nothing");
	}
	note_ways_in(c);
	phase("stop");
	(void)ob_mock_stop(c->mock);
	ob_mock_free(c->mock);
	c->mock = NULL;
	return 0;
}

static void close_module(struct child *c)
{
	struct mapped q = {.path = c->job.staged};

	phase("close");
	dlclose(c->job.dl);
	c->job.dl = NULL;
	dl_iterate_phdr(look_mapped, &q);
	if (q.found) {
		snprintf(c->resident, sizeof(c->resident), "it is still mapped after dlclose()");
	}
}

/* One whole life.  0, or -1 with the refusal reported. */
static int rehearse(struct child *c)
{
	if (open_module(c) != 0 || make_mock(c) != 0 || run_hooks(c) != 0) {
		return -1;
	}
	look_after_stop(c);
	if (c->resident[0] == '\0') {
		close_module(c);
	}
	return 0;
}

/* A library that the module brought along may have made a key once and for ever; one that each life
 * leaves behind is the module's, and its destructor would be called when it is gone. */
static int look_for_keys(struct child *c)
{
	int before = count_keys();
	char notes[sizeof(c->notes)];

	if (c->resident[0] != '\0' || before <= c->before.keys) {
		return 0;
	}
	memcpy(notes, c->notes, sizeof(notes));
	if (rehearse(c) != 0) {
		return -1;
	}
	memcpy(c->notes, notes, sizeof(notes));
	int left = count_keys() - before;
	if (left > 0) {
		snprintf(c->resident, sizeof(c->resident),
		         "it leaves %d pthread key%s behind each time", left, left == 1 ? "" : "s");
	}
	return 0;
}

/* What the destructors left. */
static void look_after_close(struct child *c)
{
	struct inventory now;

	if (c->resident[0] != '\0') {
		return;
	}
	int left = threads_left(&c->before);
	take_inventory(&now);
	if (left > 0) {
		snprintf(c->resident, sizeof(c->resident), "%d thread%s run after dlclose()", left,
		         left == 1 ? "" : "s");
	} else if (changed_signal(c, &now) != 0) {
		snprintf(c->resident, sizeof(c->resident), "a signal is handled after dlclose()");
	}
}

static void report_success(struct child *c)
{
	send_report(c, json_pack("{s:b, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
	                         "ok", 1, "flags", (json_int_t)c->desc.flags, "state_write",
	                         (json_int_t)c->desc.state_write, "state_read_min",
	                         (json_int_t)c->desc.state_read_min, "version", c->version,
	                         "provides", c->provides, "needs", c->needs, "transports",
	                         c->transports, "brings", c->brings, "listens", c->listens,
	                         "resident", c->resident, "notes", c->notes));
}

/* A crash is to end the process by its signal, whatever a sanitizer has set up. */
static void default_signals(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};

	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		(void)signal(fatal[i], SIG_DFL);
	}
}

/* ---- obhost-probe ---- */

/* All of them are in this process already, so the module brings nothing along.  (What is in libm
 * does nothing but answer.) */
static bool has_libraries(char *list)
{
	char *rest = NULL;

	for (char *name = strtok_r(list, " ", &rest); name != NULL;
	     name = strtok_r(NULL, " ", &rest)) {
		void *dl = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
		if (dl == NULL && strncmp(name, "libm.so", strlen("libm.so")) != 0) {
			return false;
		}
		if (dl != NULL) {
			dlclose(dl);
		}
	}
	return true;
}

/* This program can stand for obhost itself. */
static bool is_for_us(struct child *c)
{
	struct ob__elf_fault fault;
	struct ob__elf_info info = {0};
	const char *build = task_text(c, "build");
	ob_note unused = {0};

	if (strcmp(build, OB__PROBE_BUILD) != 0) {
		report_elsewhere(c, OB__PROBE_STRANGER, OB__PROBE_BUILD);
		return false;
	}
	if (ob__open_look(c->job.staged, &unused, &fault, &info) != 0 || info.exports > 0 ||
	    !has_libraries(info.needed)) {
		report_elsewhere(c, OB__PROBE_ELSEWHERE, "");
		return false;
	}
	return true;
}

static int begin(struct child *c)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, "obhost-probe"); /* not the name of a descriptor */
	give_way();
	default_signals();
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (read_task(c) != 0) {
		fprintf(stderr, "this is what obhost runs to rehearse a module\n");
		return 2;
	}
	snprintf(c->job.name, sizeof(c->job.name), "%s", task_text(c, "name"));
	snprintf(c->job.file, sizeof(c->job.file), "%s", task_text(c, "file"));
	snprintf(c->job.staged, sizeof(c->job.staged), "%s", task_text(c, "staged"));
	return 0;
}

int ob__probe_main(bool whole)
{
	static struct child c;

	c.whole = whole;
	int rc = begin(&c);
	if (rc != 0 || (!whole && !is_for_us(&c))) {
		return rc;
	}
	if (read_state(&c) != 0) {
		return 2;
	}
	close_others();
	confine(&c);
	settle();
	take_inventory(&c.before);
	if (rehearse(&c) == 0 && look_for_keys(&c) == 0) {
		look_after_close(&c);
		report_success(&c);
	}
	fflush(stdout);
	if (!c.done) {
		_exit(3);
	}
	/* What was left to run at the exit shows now: the code is gone.  A module that stays mapped
	 * may have threads, which an exit would upset. */
	phase("exit");
	if (OB_SANITIZER != 0 || c.resident[0] != '\0' || c.job.dl != NULL) {
		_exit(0);
	}
	exit(0);
}
