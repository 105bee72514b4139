/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Linked into a module, it makes dlclose() leave that mapped, in a way that its file does not show:
 * it opens itself once more, never to be closed.
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <stdlib.h>

static const char anchor;

__attribute__((constructor)) static void pin(void)
{
	Dl_info info;

	if (dladdr(&anchor, &info) == 0 ||
	    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) == NULL) {
		abort();
	}
}
