/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "protobuf.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "unicode.h"

#define EXACT_MAX  9007199254740992.0  /* 2^53 */
#define VARINT_MAX (UINT64_C(1) << 54) /* in zigzag one bit more */

enum wire { WIRE_VARINT, WIRE_DOUBLE, WIRE_BYTES, WIRE_FLOAT = 5 };

static enum wire wire_of(enum pomelo_kind kind)
{
	switch (kind) {
	case POMELO_UINT32:
	case POMELO_SINT32:
		return WIRE_VARINT;
	case POMELO_DOUBLE:
		return WIRE_DOUBLE;
	case POMELO_FLOAT:
		return WIRE_FLOAT;
	default:
		return WIRE_BYTES;
	}
}

static bool is_number(enum pomelo_kind kind)
{
	return wire_of(kind) != WIRE_BYTES;
}

/* ---- to the wire ---- */

static size_t put_varint(uint8_t out[10], uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7) {
		out[n++] = (uint8_t)(value | 0x80);
	}
	out[n++] = (uint8_t)value;
	return n;
}

static void add_varint(struct pomelo_bytes *out, uint64_t value)
{
	uint8_t bytes[10];

	pomelo_bytes_add(out, bytes, put_varint(bytes, value));
}

/* As JavaScript's parseInt() sees it: a number without its fraction, or a text that begins so. */
static bool whole_number(const json_t *value, int64_t *number)
{
	double real = json_number_value(value);

	if (json_is_integer(value)) {
		*number = json_integer_value(value);
	} else if (json_is_string(value)) {
		const char *text = json_string_value(value);
		char *end;

		errno = 0;
		*number = strtoll(text, &end, 10);
		if (end == text || errno != 0) {
			return false;
		}
	} else if (json_is_real(value) && fabs(real) <= EXACT_MAX) {
		*number = (int64_t)real;
	} else {
		return false;
	}
	return *number <= (int64_t)EXACT_MAX && *number >= -(int64_t)EXACT_MAX;
}

static bool add_integer(const json_t *value, bool zigzag, struct pomelo_bytes *out)
{
	int64_t number;

	if (!whole_number(value, &number) || (number < 0 && !zigzag)) {
		return false;
	}
	if (zigzag) {
		number = number < 0 ? -number * 2 - 1 : number * 2;
	}
	add_varint(out, (uint64_t)number);
	return true;
}

static bool add_real(const json_t *value, bool is_float, struct pomelo_bytes *out)
{
	double real = json_number_value(value);

	if (!json_is_number(value)) {
		return false;
	}
	if (is_float) {
		float single = (float)real;
		uint32_t bits;

		if (!isfinite(single)) {
			return false; /* too large for one, and no JSON where it is read */
		}
		memcpy(&bits, &single, sizeof(bits));
		bits = htole32(bits);
		pomelo_bytes_add(out, &bits, sizeof(bits));
	} else {
		uint64_t bits;

		memcpy(&bits, &real, sizeof(bits));
		bits = htole64(bits);
		pomelo_bytes_add(out, &bits, sizeof(bits));
	}
	return true;
}

static bool add_text(const json_t *value, struct pomelo_bytes *out)
{
	if (!json_is_string(value)) {
		return false;
	}
	add_varint(out, json_string_length(value));
	pomelo_bytes_add(out, json_string_value(value), json_string_length(value));
	return true;
}

static bool add_message(const struct pomelo_proto *proto, const json_t *message, int depth,
                        struct pomelo_bytes *out);

/* Its length stands in front of it: one byte is left for that, and more are made room for. */
static bool add_inner(const struct pomelo_proto *proto, const json_t *message, int depth,
                      struct pomelo_bytes *out)
{
	size_t at = out->len;
	uint8_t bytes[10] = {0};

	pomelo_bytes_add(out, bytes, 1);
	if (!add_message(proto, message, depth, out) || out->failed) {
		return false;
	}

	size_t len = out->len - at - 1;
	size_t n = put_varint(bytes, len);

	pomelo_bytes_add(out, bytes, n - 1);
	if (out->failed) {
		return false;
	}
	memmove(out->data + at + n, out->data + at + 1, len);
	memcpy(out->data + at, bytes, n);
	return true;
}

static bool add_value(const struct pomelo_field *field, const json_t *value, int depth,
                      struct pomelo_bytes *out)
{
	switch (field->kind) {
	case POMELO_UINT32:
	case POMELO_SINT32:
		return add_integer(value, field->kind == POMELO_SINT32, out);
	case POMELO_FLOAT:
	case POMELO_DOUBLE:
		return add_real(value, field->kind == POMELO_FLOAT, out);
	case POMELO_STRING:
		return add_text(value, out);
	default:
		return add_inner(field->message, value, depth + 1, out);
	}
}

static void add_key(const struct pomelo_field *field, struct pomelo_bytes *out)
{
	add_varint(out, (uint64_t)field->tag << 3 | wire_of(field->kind));
}

static bool add_repeated(const struct pomelo_field *field, const json_t *list, int depth,
                         struct pomelo_bytes *out)
{
	bool once = is_number(field->kind);
	size_t i;
	json_t *value;

	if (json_is_null(list)) {
		return true;
	}
	if (!json_is_array(list)) {
		return false;
	}
	if (json_array_size(list) > 0 && once) {
		add_key(field, out);
		add_varint(out, json_array_size(list));
	}
	json_array_foreach (list, i, value) {
		if (!once) {
			add_key(field, out);
		}
		if (!add_value(field, value, depth, out) || out->failed) {
			return false;
		}
	}
	return true;
}

static bool has_required(const struct pomelo_proto *proto, const json_t *message)
{
	for (size_t i = 0; i < proto->len; i++) {
		const struct pomelo_field *field = &proto->fields[i];

		if (field->option == POMELO_REQUIRED &&
		    json_object_get(message, field->name) == NULL) {
			return false;
		}
	}
	return true;
}

static bool add_message(const struct pomelo_proto *proto, const json_t *message, int depth,
                        struct pomelo_bytes *out)
{
	const char *key;
	json_t *value;

	if (!json_is_object(message) || depth > POMELO_DEPTH_MAX || !has_required(proto, message)) {
		return false;
	}
	json_object_foreach ((json_t *)(uintptr_t)message, key, value) {
		const struct pomelo_field *field = pomelo_field_named(proto, key);
		bool good = true;

		if (field == NULL) {
			continue;
		}
		if (field->option == POMELO_REPEATED) {
			good = add_repeated(field, value, depth, out);
		} else {
			add_key(field, out);
			good = add_value(field, value, depth, out);
		}
		if (!good || out->failed) {
			return false;
		}
	}
	return !out->failed;
}

bool pomelo_protobuf_encode(const struct pomelo_proto *proto, const json_t *message,
                            struct pomelo_bytes *out)
{
	return add_message(proto, message, 0, out);
}

/* ---- from the wire ---- */

struct input {
	const uint8_t *data;
	size_t len;
	size_t at;
	struct pomelo_bytes *scratch;
	unsigned *left; /* values that the whole message may still have */
};

static bool get_varint(struct input *in, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift <= 49 && in->at < in->len; shift += 7) {
		uint8_t byte = in->data[in->at++];

		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			return *value <= VARINT_MAX;
		}
	}
	return false;
}

/* A length, and that many bytes are there. */
static bool get_len(struct input *in, size_t *len)
{
	uint64_t value;

	if (!get_varint(in, &value) || value > in->len - in->at) {
		return false;
	}
	*len = (size_t)value;
	return true;
}

/* A whole number is one in JSON too, and what JSON has no word for is null, as in JavaScript. */
static json_t *number_of(double real)
{
	if (!isfinite(real)) {
		return json_null();
	}
	if (fabs(real) <= EXACT_MAX && real == (double)(json_int_t)real) {
		return json_integer((json_int_t)real);
	}
	return json_real(real);
}

static json_t *get_integer(struct input *in, bool zigzag)
{
	uint64_t value;

	if (!get_varint(in, &value) || (!zigzag && value > (uint64_t)EXACT_MAX)) {
		return NULL;
	}
	if (!zigzag) {
		return json_integer((json_int_t)value);
	}

	json_int_t half = (json_int_t)(value / 2 + value % 2);

	return json_integer(value % 2 != 0 ? -half : half);
}

static json_t *get_real(struct input *in, bool is_float)
{
	size_t size = is_float ? sizeof(uint32_t) : sizeof(uint64_t);
	const uint8_t *from = in->data + in->at;

	if (in->len - in->at < size) {
		return NULL;
	}
	in->at += size;
	if (is_float) {
		uint32_t bits;
		float single;

		memcpy(&bits, from, sizeof(bits));
		bits = le32toh(bits);
		memcpy(&single, &bits, sizeof(single));
		return number_of((double)single);
	}

	uint64_t bits;
	double real;

	memcpy(&bits, from, sizeof(bits));
	bits = le64toh(bits);
	memcpy(&real, &bits, sizeof(real));
	return number_of(real);
}

static json_t *get_text(struct input *in)
{
	size_t len;

	if (!get_len(in, &len)) {
		return NULL;
	}

	const uint8_t *text = in->data + in->at;

	pomelo_bytes_begin(in->scratch, 3 * len);

	uint8_t *clean = pomelo_bytes_room(in->scratch, 3 * len);

	in->at += len;
	return clean != NULL ? json_stringn((char *)clean, pomelo_clean(text, len, clean)) : NULL;
}

static json_t *get_message(const struct pomelo_proto *proto, struct input *in, int depth);

static json_t *get_inner(const struct pomelo_proto *proto, struct input *in, int depth)
{
	struct input inner = *in;
	size_t len;

	if (!get_len(in, &len)) {
		return NULL;
	}
	inner.at = in->at;
	inner.len = in->at + len;
	in->at += len;
	return get_message(proto, &inner, depth);
}

static json_t *get_value(const struct pomelo_field *field, struct input *in, int depth)
{
	if (*in->left == 0) {
		return NULL;
	}
	--*in->left;
	switch (field->kind) {
	case POMELO_UINT32:
	case POMELO_SINT32:
		return get_integer(in, field->kind == POMELO_SINT32);
	case POMELO_FLOAT:
	case POMELO_DOUBLE:
		return get_real(in, field->kind == POMELO_FLOAT);
	case POMELO_STRING:
		return get_text(in);
	default:
		return get_inner(field->message, in, depth + 1);
	}
}

static bool get_repeated(const struct pomelo_field *field, struct input *in, int depth,
                         json_t *message)
{
	json_t *list = json_object_get(message, field->name);
	uint64_t count = 1;

	if (list == NULL) {
		list = json_array();
		if (json_object_set_new(message, field->name, list) != 0) {
			return false;
		}
	}
	if (is_number(field->kind) && (!get_varint(in, &count) || count > in->len - in->at)) {
		return false;
	}
	while (count-- > 0) {
		if (json_array_append_new(list, get_value(field, in, depth)) != 0) {
			return false;
		}
	}
	return true;
}

static bool get_field(const struct pomelo_proto *proto, struct input *in, int depth,
                      json_t *message)
{
	uint64_t key;

	if (!get_varint(in, &key)) {
		return false;
	}

	const struct pomelo_field *field = pomelo_field_tagged(proto, key >> 3);

	/* What is not known can't be passed over: of numbers only the proto says how many. */
	if (field == NULL || (key & 7) != wire_of(field->kind)) {
		return false;
	}
	if (field->option == POMELO_REPEATED) {
		return get_repeated(field, in, depth, message);
	}
	return json_object_set_new(message, field->name, get_value(field, in, depth)) == 0;
}

static json_t *get_message(const struct pomelo_proto *proto, struct input *in, int depth)
{
	json_t *message = depth <= POMELO_DEPTH_MAX ? json_object() : NULL;

	while (message != NULL && in->at < in->len) {
		if (!get_field(proto, in, depth, message)) {
			json_decref(message);
			message = NULL;
		}
	}
	return message;
}

json_t *pomelo_protobuf_decode(const struct pomelo_proto *proto, const uint8_t *data, size_t len,
                               struct pomelo_bytes *scratch)
{
	unsigned left = POMELO_VALUES_MAX;
	struct input in = {.data = data, .len = len, .scratch = scratch, .left = &left};

	return get_message(proto, &in, 0);
}
