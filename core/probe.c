/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/probe.h"

/* obhost-probe: what a node runs to rehearse a module, with next to no libraries. */
int main(void)
{
	return ob__probe_main(false);
}
