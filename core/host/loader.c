/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/err.h"
#include "base/log.h"
#include "lib/elf.h"
#include "lib/ws.h"

#define MODULE_FILE_MAX (256ll << 20)
#define COPY_BLOCK      (1u << 20)

struct ob__loader {
	struct ob__loop *loop;
	char *stage_dir;
	char **dirs;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ending;
	struct ob__list jobs;
};

/* Texts come from files, ld.so and requests, and may be cut: what is not UTF-8 is no JSON. */
static void clean(char *text)
{
	if (ob__utf8_ok((const uint8_t *)text, strlen(text))) {
		return;
	}
	for (; *text != '\0'; text++) {
		*text = (char)((unsigned char)*text < 0x80 ? *text : '?');
	}
}

void ob__refuse(struct ob__load_refusal *r, const char *step, const char *code, const char *file,
                const char *found, const char *expected, const char *remedy, const char *fmt, ...)
{
	va_list ap;

	snprintf(r->step, sizeof(r->step), "%s", step);
	snprintf(r->code, sizeof(r->code), "%s", code);
	snprintf(r->file, sizeof(r->file), "%s", file != NULL ? file : "");
	snprintf(r->found, sizeof(r->found), "%s", found != NULL ? found : "");
	snprintf(r->expected, sizeof(r->expected), "%s", expected != NULL ? expected : "");
	snprintf(r->remedy, sizeof(r->remedy), "%s", remedy != NULL ? remedy : "");
	va_start(ap, fmt);
	vsnprintf(r->message, sizeof(r->message), fmt, ap);
	va_end(ap);
	clean(r->file);
	clean(r->found);
	clean(r->expected);
	clean(r->remedy);
	clean(r->message);
}

/* Opens the module's file: the path given, or the first NAME.so in the directories. */
static int find_file(struct ob__loader *l, struct ob__load_job *job)
{
	struct ob__load_refusal *r = &job->refusal;

	if (job->path[0] != '\0') {
		snprintf(job->file, sizeof(job->file), "%s", job->path);
		int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0) {
			ob__refuse(r, "find", errno == ENOENT ? "not_found" : "unreadable",
			           job->file, strerror(errno), "a readable file",
			           "check the path in the configuration", "%s: %s", job->file,
			           strerror(errno));
		}
		return fd;
	}
	for (char **dir = l->dirs; *dir != NULL; dir++) {
		snprintf(job->file, sizeof(job->file), "%s/%s.so", *dir, job->name);
		int fd = open(job->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0 || errno != ENOENT) {
			if (fd < 0) {
				ob__refuse(r, "find", "unreadable", job->file, strerror(errno),
				           "a readable file", "check its permissions", "%s: %s",
				           job->file, strerror(errno));
			}
			return fd;
		}
	}
	snprintf(job->file, sizeof(job->file), "%s.so", job->name);
	ob__refuse(r, "find", "not_found", job->file, "no such file in any module directory",
	           "a module of that name", "check the name, or add its directory to module_dirs",
	           "module %s: %s is in none of the module directories (first: %s)", job->name,
	           job->file, l->dirs[0] != NULL ? l->dirs[0] : "none configured");
	return -1;
}

static int check_regular(int fd, struct ob__load_job *job)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		ob__refuse(&job->refusal, "stage", "unreadable", job->file, strerror(errno), NULL,
		           NULL, "%s: %s", job->file, strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		ob__refuse(&job->refusal, "stage", "not_a_file", job->file, "not a regular file",
		           "a regular file", NULL, "%s is not a regular file", job->file);
		return -1;
	}
	if (st.st_size > MODULE_FILE_MAX) {
		ob__refuse(&job->refusal, "stage", "too_big", job->file, "more than 256 MiB",
		           "at most 256 MiB", NULL, "%s is larger than 256 MiB", job->file);
		return -1;
	}
	return 0;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return -errno;
		}
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Copies from `in` to `out` (-1: only hash) and writes the hex SHA-256. 0 or -errno. */
static int copy_and_hash(int in, int out, char hex[65])
{
	uint8_t *block = malloc(COPY_BLOCK);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t digest[32];
	int rc = -ENOMEM;
	long long total = 0;

	if (block == NULL || md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
		goto out;
	}
	for (;;) {
		ssize_t n = read(in, block, COPY_BLOCK);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		total += n > 0 ? n : 0;
		rc = n < 0 ? -errno : (total > MODULE_FILE_MAX ? -EFBIG : 0);
		if (n <= 0 || rc != 0) {
			break;
		}
		EVP_DigestUpdate(md, block, (size_t)n);
		rc = out >= 0 ? write_all(out, block, (size_t)n) : 0;
		if (rc != 0) {
			break;
		}
	}
	if (rc == 0) {
		EVP_DigestFinal_ex(md, digest, NULL);
		for (int i = 0; i < 32; i++) {
			snprintf(hex + 2 * i, 3, "%02x", digest[i]);
		}
	}
out:
	EVP_MD_CTX_free(md);
	free(block);
	return rc;
}

static int stage(struct ob__loader *l, struct ob__load_job *job, int in)
{
	snprintf(job->staged, sizeof(job->staged), "%s/%s.%u.so", l->stage_dir, job->name,
	         job->generation);
	int out = open(job->staged, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0500);
	if (out < 0) {
		ob__refuse(&job->refusal, "stage", "no_stage", job->staged, strerror(errno),
		           "a writable staging directory", "check state_dir: space and permissions",
		           "can't stage to %s: %s", job->staged, strerror(errno));
		job->staged[0] = '\0';
		return -1;
	}
	int rc = copy_and_hash(in, out, job->sha256);
	close(out);
	if (rc != 0) {
		ob__refuse(&job->refusal, "stage", "no_stage", job->staged, ob__strerror(rc), NULL,
		           "check the space in state_dir", "can't copy %s to %s: %s", job->file,
		           job->staged, ob__strerror(rc));
		return -1;
	}
	if (job->want_sha[0] != '\0' && strcmp(job->want_sha, job->sha256) != 0) {
		ob__refuse(&job->refusal, "stage", "sha256", job->file, job->sha256, job->want_sha,
		           "install the file that was meant, or leave sha256 out",
		           "%s is not the file that was asked for", job->file);
		return -1;
	}
	return 0;
}

static int verify(struct ob__load_job *job)
{
	struct ob__elf_fault fault = {"file", "unreadable", "a shared object"};
	int fd = open(job->staged, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int rc = -1;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size == 0) {
		fault.found = "empty";
	} else if (fd >= 0) {
		size_t len = (size_t)st.st_size;
		void *map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map != MAP_FAILED) {
			rc = ob__elf_check(map, len, &fault);
			munmap(map, len);
		}
	}
	if (fd >= 0) {
		close(fd);
	}
	if (rc != 0) {
		ob__refuse(&job->refusal, "verify", "not_a_module", job->file, fault.found,
		           fault.expected, "rebuild the module for this machine",
		           "%s: %s: %s, expected %s", job->file, fault.what, fault.found,
		           fault.expected);
	}
	return rc;
}

static int check_identity(struct ob__load_job *job)
{
	const ob_module_desc *d = job->desc;
	char found[64];
	char expected[64];

	if (d->magic != OB_MODULE_MAGIC) {
		ob__refuse(&job->refusal, "load", "not_a_module", job->file, "a foreign ob_module",
		           "one written by OB_MODULE()", NULL,
		           "%s: ob_module has no obhost magic number", job->file);
		return -1;
	}
	snprintf(found, sizeof(found), "ABI %u.%u", d->abi_major, d->abi_minor);
	snprintf(expected, sizeof(expected), "ABI %d.%d", OB_ABI_MAJOR, OB_ABI_MINOR);
	if (d->abi_major != OB_ABI_MAJOR || d->abi_minor != OB_ABI_MINOR) {
		ob__refuse(&job->refusal, "load", "abi", job->file, found, expected,
		           "rebuild the module with this host's obhost.h",
		           "%s was built for %s, this host offers %s", job->file, found, expected);
		return -1;
	}
	if (d->size != sizeof(ob_module_desc)) {
		snprintf(found, sizeof(found), "%u bytes", d->size);
		snprintf(expected, sizeof(expected), "%zu bytes", sizeof(ob_module_desc));
		ob__refuse(&job->refusal, "load", "abi", job->file, found, expected,
		           "rebuild the module with this host's obhost.h",
		           "%s: its descriptor has %s, this host's %s", job->file, found, expected);
		return -1;
	}
	if (d->name == NULL || strcmp(d->name, job->name) != 0) {
		ob__refuse(&job->refusal, "load", "name", job->file,
		           d->name != NULL ? d->name : "none", job->name,
		           "load it under its own name", "%s is the module %s, not %s", job->file,
		           d->name != NULL ? d->name : "(nameless)", job->name);
		return -1;
	}
	return 0;
}

static int load(struct ob__load_job *job)
{
	struct link_map *map = NULL;

	job->dl = dlopen(job->staged, RTLD_NOW | RTLD_LOCAL);
	if (job->dl == NULL) {
		const char *why = dlerror();
		ob__refuse(
			&job->refusal, "load", "dlopen", job->file, why, NULL,
			"link the module against what it uses (-Wl,-z,defs finds what is missing)",
			"%s can't be loaded: %s", job->file, why != NULL ? why : "no reason given");
		return -1;
	}
	job->desc = dlsym(job->dl, "ob_module");
	if (job->desc == NULL) {
		ob__refuse(&job->refusal, "load", "not_a_module", job->file, "no symbol ob_module",
		           "a module", "end the source with OB_MODULE(name, ...)",
		           "%s exports no ob_module", job->file);
		return -1;
	}
	if (dlinfo(job->dl, RTLD_DI_LINKMAP, &map) == 0 && map != NULL) {
		job->base = (uintptr_t)map->l_addr;
	}
	return check_identity(job);
}

static void discard(struct ob__load_job *job)
{
	if (job->dl != NULL) {
		dlclose(job->dl);
		job->dl = NULL;
		job->desc = NULL;
	}
	if (job->staged[0] != '\0') {
		unlink(job->staged);
		job->staged[0] = '\0';
	}
}

/* Hashes the file in place; true when it is the one that runs already. */
static bool is_known(struct ob__load_job *job, int fd)
{
	if (job->known_sha[0] == '\0' || copy_and_hash(fd, -1, job->sha256) != 0) {
		return false;
	}
	return strcmp(job->known_sha, job->sha256) == 0 && job->want_sha[0] == '\0';
}

static void run_open(struct ob__loader *l, struct ob__load_job *job)
{
	int fd = find_file(l, job);

	job->failed = true;
	if (fd < 0) {
		return;
	}
	if (check_regular(fd, job) != 0) {
		goto out;
	}
	if (is_known(job, fd)) {
		job->unchanged = true;
		job->failed = false;
		goto out;
	}
	lseek(fd, 0, SEEK_SET);
	if (stage(l, job, fd) == 0 && verify(job) == 0 && load(job) == 0) {
		job->failed = false;
	} else {
		discard(job);
	}
out:
	close(fd);
}

struct mapped_query {
	uintptr_t base;
	const char *path;
	bool found;
};

static int is_mapped(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct mapped_query *q = arg;

	(void)size;
	q->found |= info->dlpi_addr == q->base && info->dlpi_name != NULL &&
	            strcmp(info->dlpi_name, q->path) == 0;
	return 0;
}

static void run_close(struct ob__load_job *job)
{
	struct mapped_query q = {.base = job->base, .path = job->staged};

	dlclose(job->dl);
	dl_iterate_phdr(is_mapped, &q);
	job->failed = q.found;
	if (!job->failed) {
		unlink(job->staged);
	}
}

void ob__loader_run(struct ob__loader *l, struct ob__load_job *job)
{
	if (job->op == OB__LOAD_OPEN) {
		run_open(l, job);
	} else {
		run_close(job);
	}
}

static void job_done(void *arg)
{
	struct ob__load_job *job = arg;

	job->done(job);
}

static void *loader_main(void *arg)
{
	struct ob__loader *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->ending) {
		if (ob__list_empty(&l->jobs)) {
			pthread_cond_wait(&l->wake, &l->lock);
			continue;
		}
		struct ob__load_job *job = OB__CONTAINER(l->jobs.next, struct ob__load_job, link);
		ob__list_del(&job->link);
		pthread_mutex_unlock(&l->lock);
		ob__loader_run(l, job);
		if (ob__loop_post(l->loop, job_done, job) != 0) {
			ob__error("loader", "%s: a result is lost (out of memory)", job->name);
		}
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

static char **copy_dirs(const char *const *dirs)
{
	size_t n = 0;

	while (dirs[n] != NULL) {
		n++;
	}
	char **copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy != NULL && i < n; i++) {
		copy[i] = strdup(dirs[i]);
	}
	return copy;
}

struct ob__loader *ob__loader_new(struct ob__loop *loop, const char *stage_dir,
                                  const char *const *dirs)
{
	struct ob__loader *l = calloc(1, sizeof(*l));
	sigset_t all;
	sigset_t old;

	if (l == NULL) {
		return NULL;
	}
	l->loop = loop;
	ob__list_init(&l->jobs);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->wake, NULL);
	l->stage_dir = strdup(stage_dir);
	l->dirs = copy_dirs(dirs);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	l->running = l->stage_dir != NULL && l->dirs != NULL &&
	             pthread_create(&l->thread, NULL, loader_main, l) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!l->running) {
		ob__loader_free(l);
		return NULL;
	}
	return l;
}

void ob__loader_free(struct ob__loader *l)
{
	if (l == NULL) {
		return;
	}
	pthread_mutex_lock(&l->lock);
	l->ending = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	if (l->running) {
		pthread_join(l->thread, NULL);
	}
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	for (char **dir = l->dirs; dir != NULL && *dir != NULL; dir++) {
		free(*dir);
	}
	free(l->dirs);
	free(l->stage_dir);
	free(l);
}

void ob__loader_submit(struct ob__loader *l, struct ob__load_job *job)
{
	pthread_mutex_lock(&l->lock);
	ob__list_append(&l->jobs, &job->link);
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}
