/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  The dictionary: routes that travel as a number of two bytes.  Clients
 * get it in the handshake and keep it by its version.  The codes are pomelo's: the handlers' routes
 * in order from 1 on, then the entries of the list (config/dictionary.json of a pomelo project).
 */

#ifndef POMELO_DICTIONARY_H
#define POMELO_DICTIONARY_H

#include <stdint.h>

#include <obhost/obhost.h>

#include "md5.h"

struct pomelo_dictionary; /* NULL: none, nothing has a code */

/* Makes *d from two lists of routes, either may be NULL; both NULL: *d is NULL. Its own, to be
 * freed. 0, or negative with err. */
int pomelo_dictionary_new(struct pomelo_dictionary **d, const json_t *handlers, const json_t *list,
                          ob_err *err);
void pomelo_dictionary_free(struct pomelo_dictionary *d);

/* The code of a route, 0: it has none. */
uint16_t pomelo_dictionary_code(const struct pomelo_dictionary *d, const char *route, size_t len);

/* The route of a code, NULL: it has none. Lives as long as the dictionary. */
const char *pomelo_dictionary_route(const struct pomelo_dictionary *d, uint16_t code);

/* {"route": code}, borrowed; base64 of its MD5. */
json_t *pomelo_dictionary_json(const struct pomelo_dictionary *d);
const char *pomelo_dictionary_version(const struct pomelo_dictionary *d);

#endif
