/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Fuzz target: the look at a module's file before ld.so gets it.  What is accepted lies within the
 * file, whatever its headers say; a file that is cut before the end of anything its headers point
 * at is not accepted; a refusal has all its parts.
 */

#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/elf.h"
#include "t/fuzz/fuzz.h"

#if UINTPTR_MAX > 0xffffffffu
#define ELF(type) Elf64_##type
#else
#define ELF(type) Elf32_##type
#endif

/* The end of what lies furthest back, written a second time and in another way than the check. */
static uint64_t end_of(const uint8_t *data)
{
	ELF(Ehdr) eh;
	memcpy(&eh, data, sizeof(eh));
	uint64_t end = eh.e_phoff + (uint64_t)eh.e_phnum * sizeof(ELF(Phdr));
	for (size_t i = 0; i < eh.e_phnum; i++) {
		ELF(Phdr) ph;
		memcpy(&ph, data + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		uint64_t at = ph.p_offset + ph.p_filesz;
		end = at > end ? at : end;
	}
	if (eh.e_shnum != 0) {
		uint64_t at = eh.e_shoff + (uint64_t)eh.e_shnum * sizeof(ELF(Shdr));
		end = at > end ? at : end;
	}
	for (size_t i = 0; i < eh.e_shnum; i++) {
		ELF(Shdr) sh;
		memcpy(&sh, data + eh.e_shoff + i * sizeof(sh), sizeof(sh));
		uint64_t at = sh.sh_type == SHT_NOBITS ? 0 : sh.sh_offset + sh.sh_size;
		end = at > end ? at : end;
	}
	return end;
}

/* Checks a copy that ends where it says, so that a read beyond is seen. */
static int look(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	struct ob__elf_fault fault;
	struct ob__elf_info info;
	if (copy == NULL) {
		return -ENOMEM;
	}
	memcpy(copy, data, len);
	int rc = ob__elf_check(copy, len, &fault, &info);
	CHECK(memchr(fault.found, 0, sizeof(fault.found)) != NULL);
	if (rc == 0) {
		CHECK(fault.code == NULL && fault.what == NULL && fault.expected == NULL &&
		      fault.remedy == NULL && fault.found[0] == '\0');
		CHECK(info.note >= copy && info.note_len <= len - (size_t)(info.note - copy));
		CHECK(info.module_size > 0 && info.module_size <= len);
		CHECK(memchr(info.runpath, 0, sizeof(info.runpath)) != NULL);
	} else {
		CHECK(rc == -EINVAL && info.note == NULL);
		CHECK(fault.code != NULL && fault.what != NULL && fault.expected != NULL &&
		      fault.remedy != NULL && fault.found[0] != '\0');
	}
	free(copy);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0) {
		CHECK(look((const uint8_t *)"", 0) != 0);
		return 0;
	}
	if (look(data, len) != 0) {
		return 0;
	}
	CHECK(len >= sizeof(ELF(Ehdr)));
	uint64_t end = end_of(data);
	CHECK(end <= len);
	if (end > sizeof(ELF(Ehdr))) {
		CHECK(look(data, (size_t)end) == 0);
		CHECK(look(data, (size_t)end - 1) != 0);
	}
	return 0;
}
