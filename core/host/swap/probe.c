/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/probe.h"

int ob__probe_run(struct ob__probe *p, struct ob__load_refusal *r)
{
	(void)p;
	(void)r;
	return 0;
}

int ob__probe_main(void)
{
	return 1;
}
