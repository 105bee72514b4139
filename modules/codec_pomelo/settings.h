/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  The module's configuration, checked and ready for use.
 */

#ifndef POMELO_SETTINGS_H
#define POMELO_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "dictionary.h"
#include "protos.h"

struct pomelo_settings {
	json_t *heartbeat;     /* seconds, as clients are told; NULL: none */
	uint32_t timeout_ms;   /* without a heartbeat of the client's; 0: it has all time */
	uint32_t handshake_ms; /* from its first byte to its handshake, and on to its
	                          acknowledgement */
	uint32_t max_package;  /* bytes, its head included */
	bool strict_heartbeat; /* messages are none */
	bool host_codes;       /* a failed request has the host's code, else 500 */
	const char *handshake; /* the name whose handler is asked about newcomers; NULL: none */
	const json_t *clients; /* {"type": "least version"}; NULL: all are taken */
	struct pomelo_dictionary *dictionary;
	bool use_protos;
	struct pomelo_protos server; /* of what goes to clients */
	struct pomelo_protos client; /* of what comes from them */
	char protos_version[POMELO_VERSION_SIZE];
	uint32_t forms; /* another number for another dictionary or other protos */
	json_t *conf;   /* what all these words live in */
};

/* Reads `conf`, an object, into zeroed *s, whatever is in it to be freed also when this fails.  0,
 * or negative with err. */
int pomelo_settings_read(struct pomelo_settings *s, const json_t *conf, ob_err *err);
void pomelo_settings_free(struct pomelo_settings *s);

#endif
