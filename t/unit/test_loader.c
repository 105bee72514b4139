/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <CUnit/CUnit.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/swap/loader.h"
#include "lib/elf.h"
#include "tap.h"
#include "unit/files.h"
#include "unit/node_rig.h"

static struct ob__loop *loop;
static struct ob__loader *loader;
static char stage_dir[160];
static char mods_dir[160];
static unsigned number;

static void begin(void)
{
	rig_begin();
	snprintf(stage_dir, sizeof(stage_dir), "%s/stage", rig_dir);
	snprintf(mods_dir, sizeof(mods_dir), "%s/mods", rig_dir);
	CU_ASSERT_EQUAL_FATAL(mkdir(stage_dir, 0700), 0);
	const char *dirs[] = {"/nonexistent", mods_dir, NULL};
	loop = ob__loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
	loader = ob__loader_new(loop, stage_dir, dirs, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(loader);
}

static void end(void)
{
	ob__loader_free(loader);
	CU_ASSERT_EQUAL(ob__loop_free(loop), 0);
	/* Whatever was staged is gone: the directory is empty. */
	CU_ASSERT_EQUAL(rmdir(stage_dir), 0);
	rig_end();
}

static struct ob__load_job job_of(const char *name, const char *path)
{
	struct ob__load_job job = {.op = OB__LOAD_WHOLE, .number = ++number};

	snprintf(job.name, sizeof(job.name), "%s", name);
	snprintf(job.path, sizeof(job.path), "%s", path);
	return job;
}

static void close_job(const struct ob__load_job *open)
{
	struct ob__load_job job = {.op = OB__LOAD_CLOSE, .dl = open->dl, .base = open->base};

	snprintf(job.staged, sizeof(job.staged), "%s", open->staged);
	ob__loader_run(loader, &job);
	CU_ASSERT_FALSE(job.failed);
	CU_ASSERT_NOT_EQUAL(access(open->staged, F_OK), 0);
}

static void test_loads(void)
{
	begin();
	rig_install("answer_a", "answer");
	struct ob__load_job job = job_of("answer", "");
	ob__loader_run(loader, &job);
	CU_ASSERT_FALSE_FATAL(job.failed);
	CU_ASSERT_FALSE(job.unchanged);
	CU_ASSERT_PTR_NOT_NULL(job.dl);
	CU_ASSERT_NOT_EQUAL(job.base, 0);
	CU_ASSERT_STRING_EQUAL(job.desc->name, "answer");
	CU_ASSERT_STRING_EQUAL(job.desc->version, "A");
	CU_ASSERT_EQUAL(strlen(job.sha256), 64);
	CU_ASSERT_EQUAL(strspn(job.sha256, "0123456789abcdef"), 64);

	/* A private copy, readable by nobody else, is what is mapped. */
	struct stat st;
	CU_ASSERT_EQUAL(stat(job.staged, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0500);
	CU_ASSERT_NOT_EQUAL(strcmp(job.staged, job.file), 0);
	Dl_info info;
	CU_ASSERT_NOT_EQUAL(dladdr(job.desc, &info), 0);
	CU_ASSERT_STRING_EQUAL(info.dli_fname, job.staged);
	close_job(&job);
	end();
}

struct refusal_row {
	const char *built; /* test module installed as `name`, or NULL */
	const char *name;
	const char *path; /* relative to the directory of modules, or "" */
	const char *step;
	const char *code;
	const char *found;    /* part of it, or NULL */
	const char *expected; /* part of it, or NULL */
	const char *message;  /* part of it */
};

static const struct refusal_row refusals[] = {
	/* find */
	{NULL, "nobody", "", "stage", "not_found", NULL, NULL,
         "nobody.so is in none of the module"},
	{NULL, "nobody", "gone.so", "stage", "not_found", "No such file", NULL, "gone.so"},
	/* what is told is UTF-8 whatever the file is called */
	{NULL, "nobody", "\xff\xc3.so", "stage", "not_found", NULL, NULL, "/??.so: No such"},
	/* stage: a directory is no file */
	{NULL, "dir", "dir.so", "stage", "not_a_file", "not a regular file", NULL, "dir.so"},
	{NULL, "empty", "empty.so", "stage", "empty", "an empty file", NULL, "empty.so"},
	/* preflight: the file */
	{NULL, "script", "script.so", "preflight", "not_elf", "not ELF", NULL, "script.so"},
	{NULL, "cut", "cut.so", "preflight", "truncated", "truncated", "a whole file", "cut.so"},
	{"library", "library", "", "preflight", "not_a_module", "no symbol ob_module", NULL,
         "exported symbols: no symbol ob_module"},
	/* preflight: its identity note */
	{"bad_magic", "bad", "", "preflight", "not_a_module", "a foreign identity note", NULL,
         "no obhost magic number"},
	{"bad_major", "bad", "", "preflight", "abi", "ABI 7.", "ABI 1.",
         "was built for ABI 7.1, this host has ABI 1."},
	{"bad_minor", "bad", "", "preflight", "abi", ".77", "ABI 1.", "this host has"},
	{"answer_a", "bad", "", "preflight", "name", "answer", "bad",
         "is the module answer, not bad"},
	/* load: the descriptor says something else than the note */
	{"bad_size", "bad", "", "load", "identity",
         "descriptor: magic 0x6f62686f, ABI 1.1, 8 bytes", "note: magic 0x6f62686f, ABI 1.",
         "disagree"},
	{"bad_name", "bad", "", "load", "identity", "name other", "name bad", "disagree"},
	{"bad_nameless", "bad", "", "load", "identity", "name none", "name bad", "disagree"},
	{"unresolved", "unresolved", "", "load", "dlopen", "obhost_test_no_such_function", NULL,
         "can't be loaded"},
};

static void write_file(const char *name, const void *data, size_t len)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", mods_dir, name);
	files_write(path, data, len);
}

static void make_odd_files(void)
{
	char path[512];
	uint8_t block[3000];

	snprintf(path, sizeof(path), "%s/dir.so", mods_dir);
	CU_ASSERT_EQUAL(mkdir(path, 0755), 0);
	write_file("empty.so", "", 0);
	write_file("script.so", "#!/bin/sh\n", 10);
	rig_module_path("answer_a", path, sizeof(path));
	FILE *f = fopen(path, "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fread(block, 1, sizeof(block), f), sizeof(block));
	fclose(f);
	write_file("cut.so", block, sizeof(block));
}

static bool has(const char *text, const char *part)
{
	if (part != NULL && strstr(text, part) == NULL) {
		printf("# \"%s\" has no \"%s\"\n", text, part);
		return false;
	}
	return true;
}

static void test_refusals(void)
{
	begin();
	make_odd_files();
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal_row *r = &refusals[i];
		char path[512] = "";
		if (r->built != NULL) {
			rig_install(r->built, r->name);
		}
		if (r->path[0] != '\0') {
			snprintf(path, sizeof(path), "%s/%s", mods_dir, r->path);
		}
		struct ob__load_job job = job_of(r->name, path);
		ob__loader_run(loader, &job);
		CU_ASSERT_TRUE(job.failed);
		CU_ASSERT_PTR_NULL(job.dl);
		CU_ASSERT_STRING_EQUAL(job.staged, "");
		CU_ASSERT_STRING_EQUAL(job.refusal.step, r->step);
		CU_ASSERT_STRING_EQUAL(job.refusal.code, r->code);
		CU_ASSERT_TRUE(has(job.refusal.found, r->found));
		CU_ASSERT_TRUE(has(job.refusal.expected, r->expected));
		CU_ASSERT_TRUE(has(job.refusal.message, r->message));
	}
	end();
}

struct note_row {
	size_t at; /* in the note */
	size_t size;
	uint32_t value;
	const char *code;
	const char *found;
	const char *expected; /* part of it */
};

#define NOTE(field) offsetof(ob_note, field), sizeof(((ob_note *)0)->field)

/* One item of the note is another host's; each refusal names both sides. */
static const struct note_row note_rows[] = {
	{NOTE(magic), 1, "not_a_module", "a foreign identity note", "OB_MODULE()"},
	{NOTE(abi_major), 0, "abi", "ABI 0.", "ABI 1."},
	{NOTE(abi_major), 2, "abi", "ABI 2.", "ABI 1."},
	{NOTE(abi_minor), OB_ABI_MINOR + 1, "abi", "ABI 1.", "ABI 1."},
	{NOTE(size), 16, "abi", "a descriptor of 16 bytes", "one of at least "},
	{NOTE(jansson), 9, "abi", "jansson 9", "jansson 2"},
	{NOTE(pointer_size), 3, "layout", "pointers of 3 bytes", "pointers of "},
	{NOTE(time_size), 5, "layout", "time_t of 5 bytes", "time_t of "},
	{NOTE(off_size), 6, "layout", "off_t of 6 bytes", "off_t of "},
	{NOTE(bool_size), 2, "layout", "bool of 2 bytes", "bool of 1 bytes"},
	{NOTE(sanitizer), (OB_SANITIZER + 1) % 3, "layout", " sanitizer", " sanitizer"},
	{NOTE(sanitizer), 77, "layout", "an unknown sanitizer", " sanitizer"},
	{offsetof(ob_note, name), 4, 0x78787878, "name", "xxxxer", "answer"},
	/* the length of the note: it says less than this host must know */
	{NOTE(desc_size), 40, "abi", "40 bytes", "a longer one"},
};

static void test_notes(void)
{
	char path[512];
	static uint8_t file[1 << 20];

	begin();
	rig_module_path("answer_a", path, sizeof(path));
	FILE *f = fopen(path, "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	size_t len = fread(file, 1, sizeof(file), f);
	fclose(f);
	struct ob__elf_fault fault;
	struct ob__elf_info info;
	CU_ASSERT_EQUAL_FATAL(ob__elf_check(file, len, &fault, &info), 0);
	uint8_t *note = file + (info.note - file) - offsetof(ob_note, magic);
	for (size_t i = 0; i < sizeof(note_rows) / sizeof(note_rows[0]); i++) {
		const struct note_row *r = &note_rows[i];
		uint8_t kept[4];
		memcpy(kept, note + r->at, r->size);
		memcpy(note + r->at, &r->value, r->size);
		write_file("answer.so", file, len);
		memcpy(note + r->at, kept, r->size);
		struct ob__load_job job = job_of("answer", "");
		ob__loader_run(loader, &job);
		CU_ASSERT_TRUE(job.failed);
		CU_ASSERT_STRING_EQUAL(job.refusal.step, "preflight");
		CU_ASSERT_STRING_EQUAL(job.refusal.code, r->code);
		CU_ASSERT_TRUE(has(job.refusal.found, r->found));
		CU_ASSERT_TRUE(has(job.refusal.expected, r->expected));
		CU_ASSERT_NOT_EQUAL(job.refusal.remedy[0], '\0');
	}
	write_file("answer.so", file, len);
	struct ob__load_job job = job_of("answer", "");
	ob__loader_run(loader, &job);
	CU_ASSERT_FALSE_FATAL(job.failed);
	close_job(&job);
	end();
}

/* A fifo must not hang the loader: it is opened without waiting, then refused. */
static void test_fifo(void)
{
	char path[256];

	begin();
	snprintf(path, sizeof(path), "%s/pipe.so", mods_dir);
	CU_ASSERT_EQUAL(mkfifo(path, 0644), 0);
	struct ob__load_job job = job_of("pipe", "");
	ob__loader_run(loader, &job);
	CU_ASSERT_TRUE(job.failed);
	CU_ASSERT_STRING_EQUAL(job.refusal.code, "not_a_file");
	end();
}

static void test_hashes(void)
{
	begin();
	rig_install("answer_a", "answer");
	struct ob__load_job first = job_of("answer", "");
	ob__loader_run(loader, &first);
	CU_ASSERT_FALSE_FATAL(first.failed);

	/* The file that runs: nothing is staged, nothing is mapped. */
	struct ob__load_job same = job_of("answer", "");
	memcpy(same.known_sha, first.sha256, sizeof(same.known_sha));
	ob__loader_run(loader, &same);
	CU_ASSERT_FALSE(same.failed);
	CU_ASSERT_TRUE(same.unchanged);
	CU_ASSERT_PTR_NULL(same.dl);

	/* Another one. */
	rig_install("answer_b", "answer");
	struct ob__load_job other = job_of("answer", "");
	memcpy(other.known_sha, first.sha256, sizeof(other.known_sha));
	ob__loader_run(loader, &other);
	CU_ASSERT_FALSE_FATAL(other.failed);
	CU_ASSERT_FALSE(other.unchanged);
	CU_ASSERT_STRING_EQUAL(other.desc->version, "B");
	CU_ASSERT_NOT_EQUAL(strcmp(other.sha256, first.sha256), 0);

	/* Two generations are mapped apart. */
	CU_ASSERT_PTR_NOT_EQUAL(other.desc, first.desc);
	CU_ASSERT_STRING_EQUAL(first.desc->version, "A");

	/* Not the one that was asked for. */
	struct ob__load_job wanted = job_of("answer", "");
	memcpy(wanted.want_sha, first.sha256, sizeof(wanted.want_sha));
	ob__loader_run(loader, &wanted);
	CU_ASSERT_TRUE(wanted.failed);
	CU_ASSERT_STRING_EQUAL(wanted.refusal.step, "stage");
	CU_ASSERT_STRING_EQUAL(wanted.refusal.code, "sha256");
	CU_ASSERT_STRING_EQUAL(wanted.refusal.found, other.sha256);
	CU_ASSERT_STRING_EQUAL(wanted.refusal.expected, first.sha256);

	/* The one that was. */
	struct ob__load_job right = job_of("answer", "");
	memcpy(right.want_sha, other.sha256, sizeof(right.want_sha));
	ob__loader_run(loader, &right);
	CU_ASSERT_FALSE_FATAL(right.failed);
	close_job(&right);
	close_job(&other);
	close_job(&first);
	end();
}

/* A path that exists already is never used, and never removed. */
static void test_stage_path_taken(void)
{
	char path[256];

	begin();
	rig_install("answer_a", "answer");
	struct ob__load_job job = job_of("answer", "");
	snprintf(path, sizeof(path), "%s/answer.%u.so", stage_dir, job.number);
	files_write_text(path, "");
	ob__loader_run(loader, &job);
	CU_ASSERT_TRUE(job.failed);
	CU_ASSERT_STRING_EQUAL(job.refusal.step, "stage");
	CU_ASSERT_STRING_EQUAL(job.refusal.code, "no_stage");
	CU_ASSERT_EQUAL(unlink(path), 0);
	end();
}

/* The module stays mapped after dlclose(): that is said, and its file is kept. */
static void test_still_mapped(void)
{
	begin();
	rig_install("sticky", "sticky");
	struct ob__load_job job = job_of("sticky", "");
	ob__loader_run(loader, &job);
	CU_ASSERT_FALSE_FATAL(job.failed);
	struct ob__load_job close = {.op = OB__LOAD_CLOSE, .dl = job.dl, .base = job.base};
	memcpy(close.staged, job.staged, sizeof(close.staged));
	ob__loader_run(loader, &close);
	CU_ASSERT_TRUE(close.failed);
	CU_ASSERT_EQUAL(unlink(job.staged), 0);
	end();
}

static int done_count;

static void on_done(struct ob__load_job *job)
{
	done_count++;
	*(int *)job->arg = done_count;
}

/* Off the loop, in order, and back on it. */
static void test_thread(void)
{
	struct ob__load_job jobs[3];
	int order[3] = {0};

	begin();
	rig_install("answer_a", "answer");
	done_count = 0;
	for (int i = 0; i < 3; i++) {
		jobs[i] = job_of(i == 1 ? "nobody" : "answer", "");
		jobs[i].done = on_done;
		jobs[i].arg = &order[i];
		ob__loader_submit(loader, &jobs[i]);
	}
	CU_ASSERT_TRUE(RIG_UNTIL((ob__loop_turn(loop), done_count == 3)));
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(order[i], i + 1);
	}
	CU_ASSERT_FALSE_FATAL(jobs[0].failed);
	CU_ASSERT_TRUE(jobs[1].failed);
	CU_ASSERT_FALSE_FATAL(jobs[2].failed);
	for (int i = 0; i < 3; i += 2) {
		struct ob__load_job close = jobs[i];
		close.op = OB__LOAD_CLOSE;
		close.arg = &order[i];
		ob__loader_submit(loader, &close);
		CU_ASSERT_TRUE(RIG_UNTIL((ob__loop_turn(loop), done_count == 4 + i / 2)));
		CU_ASSERT_FALSE(close.failed);
	}
	end();
}

/* ---- the program that rehearses ---- */

static void copy_program(const char *to)
{
	char command[1024];

	snprintf(command, sizeof(command),
	         "cp '%s' '%s.new' && chmod 755 '%s.new' && mv -f '%s.new' '%s'",
	         getenv("OB_PROBE"), to, to, to, to);
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static void rehearse(bool whole)
{
	struct ob__load_job job = job_of("answer", "");

	job.op = OB__LOAD_STAGE;
	ob__loader_run(loader, &job);
	CU_ASSERT_FALSE_FATAL(job.failed);
	job.op = OB__LOAD_PROBE;
	job.probe.conf = "{}";
	job.probe.timeout_ms = 20000;
	ob__loader_run(loader, &job);
	CU_ASSERT_FALSE(job.failed);
	CU_ASSERT_EQUAL(job.probe.whole, whole);
	job.op = OB__LOAD_DISCARD;
	ob__loader_run(loader, &job);
}

static void test_program(void)
{
	char path[200];
	char gone[200];

	if (getenv("OB_PROBE") == NULL || getenv("OB_OBHOST") == NULL) {
		return;
	}
	begin();
	ob__loader_free(loader);
	const char *dirs[] = {mods_dir, NULL};
	loader = ob__loader_new(loop, stage_dir, dirs, getenv("OB_OBHOST"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(loader);
	rig_install("answer_a", "answer");
	snprintf(path, sizeof(path), "%s/obhost-probe", rig_dir);
	snprintf(gone, sizeof(gone), "%s/old", rig_dir);
	rehearse(true); /* without one */
	copy_program(path);
	CU_ASSERT_EQUAL(ob__loader_program(loader, path), 0);
	rehearse(false);
	/* what is installed over it is not what was there */
	CU_ASSERT_EQUAL(link(path, gone), 0);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(symlink("/bin/false", path), 0);
	rehearse(false);
	/* damaged in place: obhost itself does it, from now on */
	CU_ASSERT_EQUAL(truncate(gone, 100), 0);
	rehearse(true);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(unlink(gone), 0);
	rehearse(true);
	end();
}

/* It is run with all rights of the node. */
static void test_untrusted_program(void)
{
	char path[200];

	if (getenv("OB_PROBE") == NULL) {
		return;
	}
	begin();
	snprintf(path, sizeof(path), "%s/obhost-probe", rig_dir);
	CU_ASSERT_EQUAL(ob__loader_program(loader, path), -1); /* not there */
	CU_ASSERT_EQUAL(symlink(getenv("OB_PROBE"), path), 0);
	ob__loader_free(loader);
	const char *dirs[] = {mods_dir, NULL};
	loader = ob__loader_new(loop, stage_dir, dirs, getenv("OB_OBHOST"));
	CU_ASSERT_EQUAL(ob__loader_program(loader, path), -1);
	copy_program(path);
	CU_ASSERT_EQUAL(chmod(path, 0777), 0);
	ob__loader_free(loader);
	loader = ob__loader_new(loop, stage_dir, dirs, getenv("OB_OBHOST"));
	CU_ASSERT_EQUAL(ob__loader_program(loader, path), -1);
	rig_install("answer_a", "answer");
	rehearse(true);
	CU_ASSERT_EQUAL(unlink(path), 0);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("loader", NULL, NULL);
	CU_add_test(s, "loads a private copy", test_loads);
	CU_add_test(s, "refusals, step by step", test_refusals);
	CU_add_test(s, "each item of the identity note", test_notes);
	CU_add_test(s, "a fifo does not hang it", test_fifo);
	CU_add_test(s, "hashes: unchanged, changed, wanted", test_hashes);
	CU_add_test(s, "a staged path is never used twice", test_stage_path_taken);
	CU_add_test(s, "what stays mapped is told", test_still_mapped);
	CU_add_test(s, "the thread", test_thread);
	CU_add_test(s, "the program that rehearses", test_program);
	CU_add_test(s, "a program that is not trusted", test_untrusted_program);
	return ob__tap_run();
}
