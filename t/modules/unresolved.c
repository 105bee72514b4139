/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* A module that uses a function nobody has. */

#include <obhost/obhost.h>

extern int obhost_test_no_such_function(void);

static int start(ob_ctx *ctx, const json_t *conf)
{
	return obhost_test_no_such_function();
}

OB_MODULE(unresolved, .version = "1", .start = start);
