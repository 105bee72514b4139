/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Whether the page that a browser opens a connection for (its
 * Origin, RFC 6454) is one of those that may.
 *
 * A pattern is SCHEME://HOST[:PORT], which means exactly that, or HOST[:PORT] for any scheme, and
 * without a port for any port; a host *.example.org stands for all below example.org.
 */

#ifndef OB__ORIGIN_H
#define OB__ORIGIN_H

#include <stdbool.h>

/* It is such a pattern. */
bool ob__origin_pattern_ok(const char *pattern);

/* The origin, as it was sent, is one of the pattern's; cases don't matter. */
bool ob__origin_matches(const char *pattern, const char *origin);

#endif
