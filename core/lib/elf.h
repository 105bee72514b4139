/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Is this file a shared object that ld.so can be let loose on?
 *
 * dlopen() is no validator: most truncated files kill the process with SIGBUS inside ld.so.  So
 * the headers are looked at first: class, byte order, machine and type are this machine's, and
 * everything the program and section headers point at lies within the file.
 */

#ifndef OB__ELF_H
#define OB__ELF_H

#include <stddef.h>
#include <stdint.h>

/* What is wrong, with what was found and what was expected in words; all NULL: nothing. */
struct ob__elf_fault {
	const char *what;
	const char *found;
	const char *expected;
};

/* Looks at a whole file in memory. 0, or -EINVAL with *fault filled. */
int ob__elf_check(const uint8_t *data, size_t len, struct ob__elf_fault *fault);

#endif
