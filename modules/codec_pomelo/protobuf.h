/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  pomelo-protobuf: messages without their JSON.  Its wire looks like that
 * of Google's, and is not:
 *
 *     message   fields, in the order of the object they are made from
 *     field     varint of tag << 3 | wire type, and the value
 *     value     uInt32, sInt32, int32 (type 0): varint, the latter two in zigzag; double (1), float
 *               (5): little-endian; string, message (2): varint of the length, and the bytes
 *     repeated  numbers: the key once, a varint of how many, and these; else a key for each
 *
 * Varints are made with floating-point arithmetic, so that an uInt32 goes up to 2^53.
 */

#ifndef POMELO_PROTOBUF_H
#define POMELO_PROTOBUF_H

#include <stdbool.h>

#include "bytes.h"
#include "protos.h"

#define POMELO_DEPTH_MAX  32    /* messages in messages */
#define POMELO_VALUES_MAX 16384 /* that a client's message may have: an empty one has two bytes */

/* Adds what stands for `message` to `out`.  false: a required field is missing, a value is not what
 * its type says, it is too deep, or there is no room.  Fields that the proto has not are left out.
 */
bool pomelo_protobuf_encode(const struct pomelo_proto *proto, const json_t *message,
                            struct pomelo_bytes *out);

/* The message that data[0..len) stands for, a new reference; NULL: that is none.  `scratch` is for
 * its texts. */
json_t *pomelo_protobuf_decode(const struct pomelo_proto *proto, const uint8_t *data, size_t len,
                               struct pomelo_bytes *scratch);

#endif
