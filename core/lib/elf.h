/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Is this file a module that ld.so can be let loose on, and that
 * can be unmapped again?
 *
 * dlopen() is no validator: most truncated files kill the process with SIGBUS inside ld.so.  So the
 * file is looked at first, byte by byte, without trusting any of it: class, byte order, machine and
 * type are this machine's; everything the headers and the dynamic section point at lies within the
 * file; it exports the object `ob_module` and has the identity note.  What loads but can't be
 * replaced or trusted is refused as well: static TLS (a few generations side by side exhaust it),
 * NODELETE and unique symbols (never unmapped; the next generation would get the old one's data),
 * text relocations, an executable stack, segments both writable and executable.
 *
 * The codes of faults: empty, not_elf, class, byte_order, machine, type, interp, truncated,
 * malformed, no_dynamic, wx, exec_stack, static_tls, nodelete, textrel, gnu_unique, not_a_module
 * (no ob_module), no_note.
 */

#ifndef OB__ELF_H
#define OB__ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is wrong; all NULL and "": nothing.  `found` is cut and printable. */
struct ob__elf_fault {
	const char *code; /* a word */
	const char *what; /* the thing it is about */
	const char *expected;
	const char *remedy;
	char found[128];
};

/* What else was seen in a file that is taken. */
struct ob__elf_info {
	const uint8_t *note; /* behind the header of the identity note; points into the file */
	size_t note_len;
	size_t module_size;    /* of the object ob_module */
	uint32_t constructors; /* entries of DT_INIT_ARRAY; a compiler makes one itself */
	uint32_t destructors;  /* of DT_FINI_ARRAY; likewise */
	bool has_tls;          /* thread-local variables of its own */
	uint32_t exports;      /* what it defines for others besides ob_module: names that don't
	                          begin with an underscore */
	char needed[512];      /* the libraries it links, a space between; "?" for what is cut */
	bool has_runpath;      /* DT_RPATH or DT_RUNPATH: it chooses where libraries come from */
	char runpath[128];     /* cut and printable */
};

/* Looks at a whole file in memory.  0, or -EINVAL with *fault filled; *info (may be NULL) is zeroed
 * and, with 0, filled. */
int ob__elf_check(const uint8_t *data, size_t len, struct ob__elf_fault *fault,
                  struct ob__elf_info *info);

#endif
