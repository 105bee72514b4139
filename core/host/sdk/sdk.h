/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The tables behind the SDK.
 */

#ifndef OB__SDK_H
#define OB__SDK_H

#include <obhost/obhost.h>

/* What a generation's context points at while it lives. */
extern const ob_api ob__sdk_api;

/* And after it was taken out: everything answers OB_E_DEAD, NULL or 0. */
extern const ob_api ob__sdk_dead_api;

#endif
