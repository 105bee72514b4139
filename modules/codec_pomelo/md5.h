/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  MD5, for one purpose: the version by which a pomelo client says which
 * dictionary and which protos it has kept is base64(md5(their JSON)).  It protects nothing.
 */

#ifndef POMELO_MD5_H
#define POMELO_MD5_H

#include <stddef.h>
#include <stdint.h>

#define POMELO_VERSION_SIZE 25 /* base64 of 16 bytes, terminated */

/* The MD5 of data[0..len). */
void pomelo_md5(const void *data, size_t len, uint8_t out[16]);

/* The base64 of that. */
void pomelo_version(const void *data, size_t len, char out[POMELO_VERSION_SIZE]);

#endif
