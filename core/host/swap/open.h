/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  From a copy to a mapped module and back: ld.so and the identity
 * of what it maps.
 *
 * The part of the loader that the rehearsal does as well, in a program that has no loop and no
 * libraries but the C library and jansson: nothing here uses more.
 */

#ifndef OB__OPEN_H
#define OB__OPEN_H

#include "host/swap/loader.h"
#include "lib/elf.h"

/* Looks at a copy's headers.  0, or negative with the fault; *note has what is there of the
 * identity note, and info->note is NULL. */
int ob__open_look(const char *path, ob_note *note, struct ob__elf_fault *fault,
                  struct ob__elf_info *info);

/* What the jobs PREFLIGHT and OPEN do, on the calling thread. */
void ob__open_preflight(struct ob__load_job *job);
void ob__open_run(struct ob__load_job *job);

/* Unmaps; `failed` if it is still mapped then.  The copy stays. */
void ob__open_close(struct ob__load_job *job);

#endif
