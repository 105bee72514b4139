/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The module "bad", with a descriptor written by hand and one thing wrong with it, which the build
 * chooses with BAD_MAGIC, BAD_SIZE, BAD_MAJOR, BAD_MINOR or BAD_NAME.
 */

#include <obhost/obhost.h>

#ifndef BAD_MAGIC
#define BAD_MAGIC OB_MODULE_MAGIC
#endif
#ifndef BAD_SIZE
#define BAD_SIZE sizeof(ob_module_desc)
#endif
#ifndef BAD_MAJOR
#define BAD_MAJOR OB_ABI_MAJOR
#endif
#ifndef BAD_MINOR
#define BAD_MINOR OB_ABI_MINOR
#endif
#ifndef BAD_NAME
#define BAD_NAME "bad"
#endif

extern OB_EXPORT const ob_module_desc ob_module;
const ob_module_desc ob_module = {.magic = BAD_MAGIC,
                                  .size = BAD_SIZE,
                                  .abi_major = BAD_MAJOR,
                                  .abi_minor = BAD_MINOR,
                                  .name = BAD_NAME,
                                  .version = "1"};
