/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/proto.h"

#include <string.h>

#include <openssl/sha.h>

uint64_t ob__node_id(const char *name)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA256((const unsigned char *)name, strlen(name), digest);
	uint64_t id = 0;
	for (int i = 0; i < 8; i++) {
		id = id << 8 | digest[i];
	}
	return id;
}
