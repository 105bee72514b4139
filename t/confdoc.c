/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Tests only. Prints the reference of the configuration as docs/configuration.md must have it. */

#include <stdio.h>

#include "base/conf.h"
#include "host/conf/nodeconf.h"
#include "lib/buf.h"

int main(void)
{
	struct ob__buf page = {0};
	int rc = ob__conf_reference(ob__nodeconf_rows, &page);

	if (rc == 0 && fwrite(page.data, 1, page.len, stdout) != page.len) {
		rc = -1;
	}
	ob__buf_free(&page);
	return rc == 0 && fflush(stdout) == 0 ? 0 : 1;
}
