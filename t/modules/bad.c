/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The module "bad", with one thing wrong with it that the build chooses: BAD_MAGIC, BAD_MAJOR and
 * BAD_MINOR in both its identity note and its descriptor, BAD_DESCRIPTOR (a member and its value)
 * in the descriptor alone.
 */

#include <obhost/obhost.h>

#ifdef BAD_MAGIC
#undef OB_MODULE_MAGIC
#define OB_MODULE_MAGIC BAD_MAGIC
#endif
#ifdef BAD_MAJOR
#undef OB_ABI_MAJOR
#define OB_ABI_MAJOR BAD_MAJOR
#endif
#ifdef BAD_MINOR
#undef OB_ABI_MINOR
#define OB_ABI_MINOR BAD_MINOR
#endif
#ifndef BAD_DESCRIPTOR
#define BAD_DESCRIPTOR .flags = 0
#endif

#pragma GCC diagnostic ignored "-Woverride-init"
OB_MODULE(bad, .version = "1", BAD_DESCRIPTOR);
