/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#if UINTPTR_MAX > 0xffffffffu
#define ELF(type) Elf64_##type
#define OUR_CLASS ELFCLASS64
#else
#define ELF(type) Elf32_##type
#define OUR_CLASS ELFCLASS32
#endif

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#elif defined(__i386__)
#define OUR_MACHINE EM_386
#elif defined(__arm__)
#define OUR_MACHINE EM_ARM
#elif defined(__riscv)
#define OUR_MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define OUR_MACHINE EM_PPC64
#elif defined(__s390x__)
#define OUR_MACHINE EM_S390
#else
#error "name this machine's ELF number here"
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OUR_DATA ELFDATA2LSB
#else
#define OUR_DATA ELFDATA2MSB
#endif

static int fault_is(struct ob__elf_fault *fault, const char *what, const char *found,
                    const char *expected)
{
	*fault = (struct ob__elf_fault){what, found, expected};
	return -EINVAL;
}

static bool within(uint64_t off, uint64_t size, size_t len)
{
	return off <= len && size <= len - off;
}

static int check_ident(const uint8_t *data, size_t len, struct ob__elf_fault *fault)
{
	if (len == 0) {
		return fault_is(fault, "file", "empty", "a shared object");
	}
	if (len < SELFMAG || memcmp(data, ELFMAG, SELFMAG) != 0) {
		return fault_is(fault, "file type", "not ELF", "an ELF shared object");
	}
	if (len < sizeof(ELF(Ehdr))) {
		return fault_is(fault, "length", "truncated in the ELF header", "a whole file");
	}
	if (data[EI_CLASS] != OUR_CLASS) {
		return fault_is(fault, "ELF class",
		                data[EI_CLASS] == ELFCLASS32 ? "32 bit" : "64 bit",
		                OUR_CLASS == ELFCLASS64 ? "64 bit" : "32 bit");
	}
	if (data[EI_DATA] != OUR_DATA) {
		return fault_is(fault, "byte order", "foreign", "this machine's");
	}
	return 0;
}

static int check_segments(const uint8_t *data, size_t len, const ELF(Ehdr) * eh,
                          struct ob__elf_fault *fault)
{
	bool dynamic = false;

	if (eh->e_phnum == 0 || eh->e_phentsize != sizeof(ELF(Phdr)) ||
	    !within(eh->e_phoff, (uint64_t)eh->e_phnum * sizeof(ELF(Phdr)), len)) {
		return fault_is(fault, "program headers", "beyond the end of the file",
		                "a whole file");
	}
	for (size_t i = 0; i < eh->e_phnum; i++) {
		ELF(Phdr) ph;
		memcpy(&ph, data + eh->e_phoff + i * sizeof(ph), sizeof(ph));
		if (!within(ph.p_offset, ph.p_filesz, len)) {
			return fault_is(fault, "length",
			                "truncated: a segment ends beyond the file",
			                "a whole file");
		}
		dynamic |= ph.p_type == PT_DYNAMIC;
	}
	if (!dynamic) {
		return fault_is(fault, "dynamic section", "none", "one");
	}
	return 0;
}

static int check_sections(const uint8_t *data, size_t len, const ELF(Ehdr) * eh,
                          struct ob__elf_fault *fault)
{
	if (eh->e_shnum == 0) {
		return 0;
	}
	if (eh->e_shentsize != sizeof(ELF(Shdr)) ||
	    !within(eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(ELF(Shdr)), len)) {
		return fault_is(fault, "length", "truncated: section headers beyond the file",
		                "a whole file");
	}
	for (size_t i = 0; i < eh->e_shnum; i++) {
		ELF(Shdr) sh;
		memcpy(&sh, data + eh->e_shoff + i * sizeof(sh), sizeof(sh));
		if (sh.sh_type != SHT_NOBITS && !within(sh.sh_offset, sh.sh_size, len)) {
			return fault_is(fault, "length",
			                "truncated: a section ends beyond the file",
			                "a whole file");
		}
	}
	return 0;
}

int ob__elf_check(const uint8_t *data, size_t len, struct ob__elf_fault *fault)
{
	ELF(Ehdr) eh;

	*fault = (struct ob__elf_fault){NULL, NULL, NULL};
	int rc = check_ident(data, len, fault);
	if (rc != 0) {
		return rc;
	}
	memcpy(&eh, data, sizeof(eh));
	if (eh.e_machine != OUR_MACHINE) {
		return fault_is(fault, "machine", "another processor's", "this machine's");
	}
	if (eh.e_type != ET_DYN) {
		return fault_is(fault, "ELF type", "not a shared object", "a shared object");
	}
	rc = check_segments(data, len, &eh, fault);
	return rc != 0 ? rc : check_sections(data, len, &eh, fault);
}
