/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * No module: loaded by LD_PRELOAD, it counts what a process allocates and the JSON it parses, in
 * the file that COUNT_CALLS_FILE names, where others read it while the process runs: four 64-bit
 * numbers, allocations, their bytes, releases and parsed texts.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <dlfcn.h>
#include <jansson.h>

#define EXPORT __attribute__((visibility("default")))

/* The C library's own, by the names it has for those who put themselves in front of them. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *p);

struct counts {
	_Atomic uint64_t allocations;
	_Atomic uint64_t bytes;
	_Atomic uint64_t releases;
	_Atomic uint64_t parsed;
};

static struct counts unseen;
static struct counts *counts = &unseen;

__attribute__((constructor)) static void show(void)
{
	const char *path = getenv("COUNT_CALLS_FILE");
	int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0) {
		return;
	}
	void *seen =
		ftruncate(fd, sizeof(*counts)) == 0
			? mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
			: MAP_FAILED;
	if (seen != MAP_FAILED) {
		counts = seen;
	}
	close(fd);
}

static void count(size_t size)
{
	atomic_fetch_add_explicit(&counts->allocations, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&counts->bytes, size, memory_order_relaxed);
}

EXPORT void *malloc(size_t size)
{
	count(size);
	return __libc_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
	count(n * size);
	return __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t size)
{
	count(size);
	return __libc_realloc(p, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	count(size);
	return __libc_memalign(alignment, size);
}

EXPORT int posix_memalign(void **p, size_t alignment, size_t size)
{
	count(size);
	*p = __libc_memalign(alignment, size);
	return *p != NULL ? 0 : ENOMEM;
}

EXPORT void free(void *p)
{
	if (p != NULL) {
		atomic_fetch_add_explicit(&counts->releases, 1, memory_order_relaxed);
	}
	__libc_free(p);
}

static void *next(const char *name)
{
	atomic_fetch_add_explicit(&counts->parsed, 1, memory_order_relaxed);
	return dlsym(RTLD_NEXT, name);
}

EXPORT json_t *json_loads(const char *input, size_t flags, json_error_t *error)
{
	json_t *(*real)(const char *, size_t, json_error_t *);

	*(void **)&real = next("json_loads");
	return real(input, flags, error);
}

EXPORT json_t *json_loadb(const char *buffer, size_t len, size_t flags, json_error_t *error)
{
	json_t *(*real)(const char *, size_t, size_t, json_error_t *);

	*(void **)&real = next("json_loadb");
	return real(buffer, len, flags, error);
}

EXPORT json_t *json_load_callback(json_load_callback_t callback, void *data, size_t flags,
                                  json_error_t *error)
{
	json_t *(*real)(json_load_callback_t, void *, size_t, json_error_t *);

	*(void **)&real = next("json_load_callback");
	return real(callback, data, flags, error);
}
