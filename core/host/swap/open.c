/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/open.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The shortest descriptor of this major number. */
#define DESC_MIN sizeof(ob_module_desc)

#define NOTE_LEN (sizeof(ob_note) - offsetof(ob_note, magic))

int ob__open_look(const char *path, ob_note *note, struct ob__elf_fault *fault,
                  struct ob__elf_info *info)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *map = MAP_FAILED;
	struct stat st;
	int rc = -EINVAL;

	if (fd >= 0 && fstat(fd, &st) == 0) {
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	if (map == MAP_FAILED) {
		*fault = (struct ob__elf_fault){"unreadable", "copy", "a readable file",
		                                "check the file system and the system's log", ""};
		snprintf(fault->found, sizeof(fault->found), "%s", strerror(errno));
	} else {
		rc = ob__elf_check(map, (size_t)st.st_size, fault, info);
		size_t len = info->note_len < NOTE_LEN ? info->note_len : NOTE_LEN;
		if (rc == 0) {
			memcpy((char *)note + offsetof(ob_note, magic), info->note, len);
		}
		info->note = NULL;
		munmap(map, (size_t)st.st_size);
	}
	if (fd >= 0) {
		close(fd);
	}
	return rc;
}

/* Reads the identity note of the copy, once the copy is known to be whole and a module. */
static int read_note(struct ob__load_job *job, const char *step, ob_note *note)
{
	struct ob__elf_fault fault;
	struct ob__elf_info info = {0};

	*note = (ob_note){0};
	int rc = ob__open_look(job->staged, note, &fault, &info);
	if (rc == 0 && info.note_len < NOTE_LEN) {
		fault = (struct ob__elf_fault){"abi", "identity note", "a longer one",
		                               "rebuild the module with this host's obhost.h", ""};
		snprintf(fault.found, sizeof(fault.found), "%zu bytes", info.note_len);
		rc = -1;
	} else if (rc == 0 && info.module_size < DESC_MIN) {
		fault = (struct ob__elf_fault){"identity", "object ob_module", "a descriptor",
		                               "let OB_MODULE() write it", ""};
		snprintf(fault.found, sizeof(fault.found), "%zu bytes", info.module_size);
		rc = -1;
	}
	if (rc != 0) {
		ob__refuse(&job->refusal, step, fault.code, job->file, fault.found, fault.expected,
		           fault.remedy, "%s: %s: %s, expected %s", job->file, fault.what,
		           fault.found, fault.expected);
	}
	return rc;
}

static int refuse_item(struct ob__load_job *job, const char *step, const char *code,
                       const char *found, const char *expected, const char *remedy)
{
	ob__refuse(&job->refusal, step, code, job->file, found, expected, remedy,
	           "%s was built for %s, this host has %s", job->file, found, expected);
	return -1;
}

static int check_numbers(struct ob__load_job *job, const char *step, const ob_note *n)
{
	const char *remedy = "rebuild the module with this host's obhost.h";
	char found[64];
	char expected[64];

	if (n->magic != OB_MODULE_MAGIC) {
		ob__refuse(&job->refusal, step, "not_a_module", job->file,
		           "a foreign identity note", "one written by OB_MODULE()", remedy,
		           "%s: its identity note has no obhost magic number", job->file);
		return -1;
	}
	if (n->abi_major != OB_ABI_MAJOR || n->abi_minor > OB_ABI_MINOR) {
		snprintf(found, sizeof(found), "ABI %u.%u", n->abi_major, n->abi_minor);
		snprintf(expected, sizeof(expected), "ABI %d.%d", OB_ABI_MAJOR, OB_ABI_MINOR);
		return refuse_item(job, step, "abi", found, expected, remedy);
	}
	if (n->size < DESC_MIN) {
		snprintf(found, sizeof(found), "a descriptor of %u bytes", n->size);
		snprintf(expected, sizeof(expected), "one of at least %zu bytes", DESC_MIN);
		return refuse_item(job, step, "abi", found, expected, remedy);
	}
	if (n->jansson != JANSSON_VERSION_HEX >> 16) {
		snprintf(found, sizeof(found), "jansson %u", n->jansson);
		snprintf(expected, sizeof(expected), "jansson %d", JANSSON_VERSION_HEX >> 16);
		return refuse_item(job, step, "abi", found, expected,
		                   "rebuild the module with the jansson this host uses");
	}
	return 0;
}

/* What the layout of shared structs depends on. */
static int check_layout(struct ob__load_job *job, const char *step, const ob_note *n)
{
	static const char *const sanitizers[] = {"no sanitizer", "the address sanitizer",
	                                         "the thread sanitizer"};
	const struct {
		const char *type;
		uint8_t theirs;
		uint8_t ours;
	} sizes[] = {
		{"pointers", n->pointer_size, sizeof(void *)},
		{"time_t", n->time_size, sizeof(time_t)},
		{"off_t", n->off_size, sizeof(off_t)},
		{"bool", n->bool_size, sizeof(bool)},
	};
	char found[64];
	char expected[64];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (sizes[i].theirs != sizes[i].ours) {
			snprintf(found, sizeof(found), "%s of %u bytes", sizes[i].type,
			         sizes[i].theirs);
			snprintf(expected, sizeof(expected), "%s of %u bytes", sizes[i].type,
			         sizes[i].ours);
			return refuse_item(job, step, "layout", found, expected,
			                   "build the module with the flags of pkg-config "
			                   "--cflags obhost (_FILE_OFFSET_BITS, _TIME_BITS)");
		}
	}
	if (n->sanitizer != OB_SANITIZER) {
		return refuse_item(job, step, "layout",
		                   n->sanitizer < 3 ? sanitizers[n->sanitizer]
		                                    : "an unknown sanitizer",
		                   sanitizers[OB_SANITIZER],
		                   "build the module and the host with the same -fsanitize");
	}
	return 0;
}

static int refuse_name(struct ob__load_job *job, const char *step, const char *name)
{
	ob__refuse(&job->refusal, step, "name", job->file, name, job->name,
	           "load it under its own name", "%s is the module %s, not %s", job->file, name,
	           job->name);
	return -1;
}

/* The note against this host and what was asked for. */
static int check_note(struct ob__load_job *job, const char *step, const ob_note *n)
{
	char name[sizeof(n->name) + 1];

	snprintf(name, sizeof(name), "%.*s", (int)sizeof(n->name), n->name);
	if (check_numbers(job, step, n) != 0 || check_layout(job, step, n) != 0) {
		return -1;
	}
	return strcmp(name, job->name) == 0 ? 0 : refuse_name(job, step, name);
}

void ob__open_preflight(struct ob__load_job *job)
{
	ob_note note;

	job->failed =
		read_note(job, "preflight", &note) != 0 || check_note(job, "preflight", &note) != 0;
}

/* Most hooks are called for the first time when the module serves: too late to find out that one
 * leads nowhere. */
static int check_hooks(struct ob__load_job *job)
{
	const ob_module_desc *d = job->desc;
	const struct {
		const char *name;
		uintptr_t at;
	} hooks[] = {
		{"check", (uintptr_t)d->check},   {"start", (uintptr_t)d->start},
		{"load", (uintptr_t)d->load},     {"selftest", (uintptr_t)d->selftest},
		{"live", (uintptr_t)d->live},     {"save", (uintptr_t)d->save},
		{"drain", (uintptr_t)d->drain},   {"resume", (uintptr_t)d->resume},
		{"reconf", (uintptr_t)d->reconf}, {"stop", (uintptr_t)d->stop},
	};
	char found[96];
	Dl_info info;

	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++) {
		if (hooks[i].at == 0 || dladdr((void *)hooks[i].at, &info) != 0) {
			continue;
		}
		snprintf(found, sizeof(found), "%s at %#" PRIxPTR, hooks[i].name, hooks[i].at);
		ob__refuse(&job->refusal, "load", "descriptor", job->file, found,
		           "NULL or a function", "copy or install the file again",
		           "%s: its descriptor's %s leads out of all code", job->file,
		           hooks[i].name);
		return -1;
	}
	return 0;
}

/* What its author wrote into the descriptor. */
static int check_descriptor(struct ob__load_job *job)
{
	const uint32_t known = OB_MODULE_PARALLEL | OB_MODULE_RESIDENT;
	const ob_module_desc *d = job->desc;
	char found[96];

	if ((d->flags & ~known) != 0) {
		snprintf(found, sizeof(found), "flags %#x", d->flags);
		ob__refuse(&job->refusal, "load", "descriptor", job->file, found,
		           "OB_MODULE_PARALLEL, OB_MODULE_RESIDENT or none", "correct .flags",
		           "%s: its descriptor has flags that this host does not know: %#x",
		           job->file, d->flags & ~known);
		return -1;
	}
	if (d->state_read_min > d->state_write) {
		snprintf(found, sizeof(found), "state_read_min %u, state_write %u",
		         d->state_read_min, d->state_write);
		ob__refuse(&job->refusal, "load", "descriptor", job->file, found,
		           "state_read_min at most state_write",
		           "correct .state_read_min or .state_write",
		           "%s: it writes state of version %u and reads none before %u", job->file,
		           d->state_write, d->state_read_min);
		return -1;
	}
	return check_hooks(job);
}

/* The descriptor of the mapped module against the note of its file, which is against this host. */
static int check_identity(struct ob__load_job *job)
{
	const ob_module_desc *d = job->desc;
	ob_note n;
	char found[160];
	char expected[160];

	if (read_note(job, "load", &n) != 0 || check_note(job, "load", &n) != 0) {
		return -1;
	}
	/* Beyond numbers that are not ours nothing is followed. */
	bool numbers = d->magic == n.magic && d->abi_major == n.abi_major &&
	               d->abi_minor == n.abi_minor && d->size == n.size;
	const char *name = !numbers ? "?" : d->name != NULL ? d->name : "none";
	if (numbers && strcmp(name, job->name) == 0) {
		return check_descriptor(job);
	}
	snprintf(found, sizeof(found), "descriptor: magic %#x, ABI %u.%u, %u bytes, name %.64s",
	         d->magic, d->abi_major, d->abi_minor, d->size, name);
	snprintf(expected, sizeof(expected), "note: magic %#x, ABI %u.%u, %u bytes, name %s",
	         n.magic, n.abi_major, n.abi_minor, n.size, job->name);
	ob__refuse(&job->refusal, "load", "identity", job->file, found, expected,
	           "let OB_MODULE() write both",
	           "%s: its descriptor and its identity note disagree", job->file);
	return -1;
}

struct mapped_query {
	uintptr_t base;
	const char *path;
	uintptr_t low;
	uintptr_t high;
	bool found;
};

static int look_mapped(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct mapped_query *q = arg;

	(void)size;
	if (info->dlpi_addr != q->base || info->dlpi_name == NULL ||
	    strcmp(info->dlpi_name, q->path) != 0) {
		return 0;
	}
	q->found = true;
	q->low = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t low = q->base + ph->p_vaddr;
		if (ph->p_type != PT_LOAD) {
			continue;
		}
		q->low = low < q->low ? low : q->low;
		q->high = low + ph->p_memsz > q->high ? low + ph->p_memsz : q->high;
	}
	return 1;
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
		struct mapped_query q = {.base = (uintptr_t)map->l_addr, .path = job->staged};
		job->base = q.base;
		dl_iterate_phdr(look_mapped, &q);
		job->low = q.found ? q.low : 0;
		job->high = q.high;
	}
	return check_identity(job);
}

void ob__open_close(struct ob__load_job *job)
{
	struct mapped_query q = {.base = job->base, .path = job->staged};

	dlclose(job->dl);
	job->dl = NULL;
	job->desc = NULL;
	dl_iterate_phdr(look_mapped, &q);
	job->failed = q.found;
}

void ob__open_run(struct ob__load_job *job)
{
	bool ok = load(job) == 0;

	if (!ok && job->dl != NULL) {
		ob__open_close(job);
	}
	job->failed = !ok;
}
