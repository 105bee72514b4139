/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <CUnit/CUnit.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/elf.h"
#include "tap.h"

#if UINTPTR_MAX > 0xffffffffu
#define ELF(type) Elf64_##type
#else
#define ELF(type) Elf32_##type
#endif

/* A real module: what the host is made to take. */
static uint8_t *real;
static size_t real_len;

static int read_real(void)
{
	const char *dir = getenv("OB_MODULE_PATH");
	char path[512];

	snprintf(path, sizeof(path), "%s/route.so", dir != NULL ? dir : "modules/.libs");
	FILE *f = fopen(path, "re");
	if (f == NULL) {
		return -1;
	}
	real = malloc(8u << 20);
	real_len = fread(real, 1, 8u << 20, f);
	fclose(f);
	return real_len > sizeof(ELF(Ehdr)) ? 0 : -1;
}

static int free_real(void)
{
	free(real);
	return 0;
}

/* A copy that ends where it says, so that a read beyond is seen. */
static int check(const uint8_t *data, size_t len, struct ob__elf_fault *fault)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	memcpy(copy, data, len);
	int rc = ob__elf_check(copy, len, fault);
	free(copy);
	return rc;
}

static void test_real(void)
{
	struct ob__elf_fault fault = {"x", "x", "x"};

	CU_ASSERT_EQUAL(check(real, real_len, &fault), 0);
	CU_ASSERT_PTR_NULL(fault.what);
	CU_ASSERT_PTR_NULL(fault.found);
	CU_ASSERT_PTR_NULL(fault.expected);
}

/* However much is missing, it is never taken; long cuts are covered densely, the rest in steps. */
static void test_truncated(void)
{
	struct ob__elf_fault fault;
	size_t taken = 0;

	for (size_t len = 0; len < real_len; len++) {
		/* The check reads headers only, so no copy per byte: the buffer is the real one. */
		int rc = len < 2048 || len % 1021 == 0 ? check(real, len, &fault)
		                                       : ob__elf_check(real, len, &fault);
		taken += rc == 0;
		if (rc != 0 && (rc != -EINVAL || fault.what == NULL || fault.found == NULL ||
		                fault.expected == NULL)) {
			CU_FAIL_FATAL("a refusal without a reason");
		}
	}
	CU_ASSERT_EQUAL(taken, 0);
}

struct row {
	const char *what;
	size_t at;
	size_t size;
	uint64_t value;
};

#define EH(field) offsetof(ELF(Ehdr), field), sizeof(((ELF(Ehdr) *)0)->field)

static const struct row rows[] = {
	{"file type", EI_MAG0, 1, 0},
	{"file type", EI_MAG1, 1, 'e'},
	{"file type", EI_MAG2, 1, 0},
	{"file type", EI_MAG3, 1, 0},
	/* the other class, and none at all */
	{"ELF class", EI_CLASS, 1, sizeof(void *) == 8 ? ELFCLASS32 : ELFCLASS64},
	{"ELF class", EI_CLASS, 1, ELFCLASSNONE},
	{"byte order", EI_DATA, 1, __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 2 : 1},
	{"byte order", EI_DATA, 1, 0},
	{"machine", EH(e_machine), EM_NONE},
	{"machine", EH(e_machine), EM_SPARC},
	{"ELF type", EH(e_type), ET_NONE},
	{"ELF type", EH(e_type), ET_REL},
	{"ELF type", EH(e_type), ET_EXEC},
	{"ELF type", EH(e_type), ET_CORE},
	/* program headers: none, of another size, beyond the end, more than there are */
	{"program headers", EH(e_phnum), 0},
	{"program headers", EH(e_phnum), 0xffff},
	{"program headers", EH(e_phentsize), 0},
	{"program headers", EH(e_phentsize), sizeof(ELF(Phdr)) + 8},
	{"program headers", EH(e_phoff), UINT64_MAX},
	{"program headers", EH(e_phoff), UINT64_MAX - 64},
	{"program headers", EH(e_phoff), 1u << 30},
	/* section headers */
	{"length", EH(e_shentsize), 0},
	{"length", EH(e_shentsize), 1},
	{"length", EH(e_shoff), UINT64_MAX},
	{"length", EH(e_shoff), UINT64_MAX - 64},
	{"length", EH(e_shnum), 0xfeff},
};

static void test_header_fields(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct ob__elf_fault fault;
		uint8_t *copy = malloc(real_len);
		memcpy(copy, real, real_len);
		memcpy(copy + r->at, &r->value, r->size);
		int rc = ob__elf_check(copy, real_len, &fault);
		free(copy);
		CU_ASSERT_EQUAL(rc, -EINVAL);
		if (rc == 0 || strcmp(fault.what, r->what) != 0) {
			printf("# row %zu: %d %s, expected %s\n", i, rc, rc != 0 ? fault.what : "",
			       r->what);
			CU_FAIL("another fault");
		}
	}
}

/* Every segment and every section: its place or its size points beyond the file. */
static void test_segments_and_sections(void)
{
	ELF(Ehdr) eh;
	struct ob__elf_fault fault;
	uint8_t *copy = malloc(real_len);
	static const uint64_t places[] = {UINT64_MAX, UINT64_MAX - 7, 1ull << 40, 0x7fffffff};

	memcpy(&eh, real, sizeof(eh));
	CU_ASSERT_TRUE_FATAL(eh.e_phnum > 2 && eh.e_shnum > 2);
	for (size_t k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
		for (size_t i = 0; i < eh.e_phnum; i++) {
			size_t at = eh.e_phoff + i * sizeof(ELF(Phdr));
			ELF(Phdr) ph;
			memcpy(copy, real, real_len);
			memcpy(&ph, real + at, sizeof(ph));
			ph.p_offset = (typeof(ph.p_offset))places[k];
			memcpy(copy + at, &ph, sizeof(ph));
			CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault), -EINVAL);
			memcpy(&ph, real + at, sizeof(ph));
			ph.p_filesz = (typeof(ph.p_filesz))places[k];
			memcpy(copy + at, &ph, sizeof(ph));
			CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault), -EINVAL);
		}
		for (size_t i = 0; i < eh.e_shnum; i++) {
			size_t at = eh.e_shoff + i * sizeof(ELF(Shdr));
			ELF(Shdr) sh;
			memcpy(copy, real, real_len);
			memcpy(&sh, real + at, sizeof(sh));
			sh.sh_offset = (typeof(sh.sh_offset))places[k];
			memcpy(copy + at, &sh, sizeof(sh));
			int want = sh.sh_type == SHT_NOBITS ? 0 : -EINVAL;
			CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault), want);
			memcpy(&sh, real + at, sizeof(sh));
			sh.sh_size = (typeof(sh.sh_size))places[k];
			memcpy(copy + at, &sh, sizeof(sh));
			CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault), want);
		}
	}
	free(copy);
}

/* No dynamic section: a program header of another type in its place. */
static void test_no_dynamic(void)
{
	ELF(Ehdr) eh;
	struct ob__elf_fault fault;
	uint8_t *copy = malloc(real_len);

	memcpy(copy, real, real_len);
	memcpy(&eh, real, sizeof(eh));
	for (size_t i = 0; i < eh.e_phnum; i++) {
		ELF(Phdr) ph;
		size_t at = eh.e_phoff + i * sizeof(ph);
		memcpy(&ph, copy + at, sizeof(ph));
		ph.p_type = ph.p_type == PT_DYNAMIC ? PT_NULL : ph.p_type;
		memcpy(copy + at, &ph, sizeof(ph));
	}
	CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault), -EINVAL);
	CU_ASSERT_STRING_EQUAL(fault.what, "dynamic section");
	free(copy);
}

/* A file stripped of its section headers is still a module. */
static void test_no_sections(void)
{
	ELF(Ehdr) eh;
	struct ob__elf_fault fault;
	uint8_t *copy = malloc(real_len);

	memcpy(copy, real, real_len);
	memcpy(&eh, real, sizeof(eh));
	eh.e_shnum = 0;
	eh.e_shoff = 0;
	memcpy(copy, &eh, sizeof(eh));
	CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault), 0);
	free(copy);
}

static void test_not_elf(void)
{
	static const struct {
		const char *bytes;
		const char *what;
		const char *found;
	} rows_[] = {
		{"", "file", "empty"},
		{"\x7f", "file type", "not ELF"},
		{"#!/bin/sh\nexit 0\n", "file type", "not ELF"},
		{"\x7f"
	         "ELF",
	         "length", "truncated in the ELF header"},
	};

	for (size_t i = 0; i < sizeof(rows_) / sizeof(rows_[0]); i++) {
		struct ob__elf_fault fault;
		CU_ASSERT_EQUAL(
			check((const uint8_t *)rows_[i].bytes, strlen(rows_[i].bytes), &fault),
			-EINVAL);
		CU_ASSERT_STRING_EQUAL(fault.what, rows_[i].what);
		CU_ASSERT_STRING_EQUAL(fault.found, rows_[i].found);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("elf", read_real, free_real);
	CU_add_test(s, "a real module is taken", test_real);
	CU_add_test(s, "cut anywhere it is refused", test_truncated);
	CU_add_test(s, "each field of the header", test_header_fields);
	CU_add_test(s, "segments and sections beyond the file", test_segments_and_sections);
	CU_add_test(s, "no dynamic section", test_no_dynamic);
	CU_add_test(s, "no section headers", test_no_sections);
	CU_add_test(s, "other files", test_not_elf);
	return ob__tap_run();
}
