/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "t/fuzz/mutate.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 16u /* bytes at the front, where most formats have their lengths and kinds */

/* An input that is being made. */
struct work {
	const struct fuzz_corpus *corpus;
	uint8_t *data;
	size_t len;
	size_t cap;
	uint64_t random;
};

typedef void (*mutation)(struct work *w);

/* ---- the corpus ---- */

int fuzz_corpus_add(struct fuzz_corpus *c, const char *name, const uint8_t *data, size_t len)
{
	struct fuzz_input *more = realloc(c->inputs, (c->count + 1) * sizeof(*more));
	if (more == NULL) {
		return -1;
	}
	c->inputs = more;
	struct fuzz_input in = {strdup(name), malloc(len > 0 ? len : 1), len};
	if (in.name == NULL || in.data == NULL) {
		free(in.name);
		free(in.data);
		return -1;
	}
	if (len > 0) {
		memcpy(in.data, data, len);
	}
	c->inputs[c->count++] = in;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct fuzz_input *)a)->name, ((const struct fuzz_input *)b)->name);
}

void fuzz_corpus_sort(struct fuzz_corpus *c)
{
	if (c->count > 0) {
		qsort(c->inputs, c->count, sizeof(*c->inputs), by_name);
	}
}

void fuzz_corpus_free(struct fuzz_corpus *c)
{
	for (size_t i = 0; i < c->count; i++) {
		free(c->inputs[i].name);
		free(c->inputs[i].data);
	}
	free(c->inputs);
	memset(c, 0, sizeof(*c));
}

/* ---- chance ---- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* 0 to n - 1; 0 of 0. */
static size_t below(struct work *w, size_t n)
{
	w->random += 0x9e3779b97f4a7c15u;
	return (size_t)((mix(w->random) >> 32) * n >> 32);
}

/* A place among `n` bytes; those at the front are chosen more often. */
static size_t spot(struct work *w, size_t n)
{
	return below(w, n > HEAD && below(w, 2) == 0 ? HEAD : n);
}

/* How many bytes, 1 to `most`; few are chosen more often. */
static size_t few(struct work *w, size_t most)
{
	return 1 + below(w, most > 8 && below(w, 2) == 0 ? 8 : most);
}

/* ---- parts ---- */

static void cut(struct work *w, size_t at, size_t n)
{
	memmove(w->data + at, w->data + at + n, w->len - at - n);
	w->len -= n;
}

/* Room for n bytes, as far as there is any; returns how many. */
static size_t widen(struct work *w, size_t at, size_t n)
{
	n = n < w->cap - w->len ? n : w->cap - w->len;
	memmove(w->data + at + n, w->data + at, w->len - at);
	w->len += n;
	return n;
}

static void cut_some(struct work *w)
{
	if (w->len > 0) {
		size_t at = spot(w, w->len);
		cut(w, at, few(w, w->len - at));
	}
}

static void cut_end(struct work *w)
{
	if (w->len > 0) {
		w->len -= few(w, w->len);
	}
}

static void add_bytes(struct work *w)
{
	size_t at = spot(w, w->len + 1);
	size_t n = widen(w, at, few(w, 64));
	uint8_t same = (uint8_t)below(w, 256);
	bool each = below(w, 2) == 0;
	for (size_t i = 0; i < n; i++) {
		w->data[at + i] = each ? (uint8_t)below(w, 256) : same;
	}
}

static void double_part(struct work *w)
{
	if (w->len > 0) {
		size_t from = spot(w, w->len);
		size_t n = widen(w, from, few(w, w->len - from));
		memcpy(w->data + from, w->data + from + n, n);
	}
}

static void move_part(struct work *w)
{
	if (w->len > 0) {
		size_t from = spot(w, w->len);
		size_t to = spot(w, w->len);
		size_t most = w->len - (from > to ? from : to);
		memmove(w->data + to, w->data + from, few(w, most));
	}
}

static const struct fuzz_input *another(struct work *w)
{
	return &w->corpus->inputs[below(w, w->corpus->count)];
}

static void take_part(struct work *w)
{
	const struct fuzz_input *in = another(w);
	if (in->len > 0) {
		size_t from = spot(w, in->len);
		size_t at = spot(w, w->len + 1);
		size_t n = widen(w, at, few(w, in->len - from));
		memcpy(w->data + at, in->data + from, n);
	}
}

/* This one's front and the other's end. */
static void splice(struct work *w)
{
	const struct fuzz_input *in = another(w);
	size_t from = below(w, in->len + 1);
	w->len = below(w, w->len + 1);
	size_t n = in->len - from < w->cap - w->len ? in->len - from : w->cap - w->len;
	memcpy(w->data + w->len, in->data + from, n);
	w->len += n;
}

/* ---- bytes and numbers ---- */

static void flip_bit(struct work *w)
{
	if (w->len > 0) {
		w->data[spot(w, w->len)] ^= (uint8_t)(1u << below(w, 8));
	}
}

static void set_byte(struct work *w)
{
	static const uint8_t telling[] =
		"\0\1\x7e\x7f\x80\x81\xc0\xed\xf4\xfe\xff\n\r\"\\{}[]:,-.0e9 =";
	if (w->len > 0) {
		size_t at = spot(w, w->len);
		w->data[at] = below(w, 2) == 0 ? telling[below(w, sizeof(telling) - 1)]
		                               : (uint8_t)below(w, 256);
	}
}

/* Writes the lowest `size` bytes of a number in one order or the other. */
static void put(struct work *w, size_t at, size_t size, bool big, uint64_t n)
{
	for (size_t i = 0; i < size; i++) {
		w->data[at + (big ? size - 1 - i : i)] = (uint8_t)(n >> 8 * i);
	}
}

static uint64_t get(const struct work *w, size_t at, size_t size, bool big)
{
	uint64_t n = 0;
	for (size_t i = 0; i < size; i++) {
		n |= (uint64_t)w->data[at + (big ? size - 1 - i : i)] << 8 * i;
	}
	return n;
}

/* Where a number may stand: sets its size. */
static size_t number_at(struct work *w, size_t *size)
{
	do {
		*size = (size_t)1 << below(w, 4);
	} while (*size > w->len);
	return spot(w, w->len - *size + 1);
}

static void set_number(struct work *w)
{
	static const uint64_t telling[] = {
		0,          1,          2,
		125,        126,        127,
		128,        255,        256,
		1023,       1024,       1025,
		4095,       4096,       32767,
		32768,      65535,      65536,
		0x00ffffff, 0x01000000, 0x7fffffff,
		0x80000000, 0xffffffff, 0x100000000,
		INT64_MAX,  UINT64_MAX, UINT64_MAX - 7,
	};
	if (w->len > 0) {
		size_t size;
		size_t at = number_at(w, &size);
		uint64_t n = telling[below(w, sizeof(telling) / sizeof(telling[0]))];
		put(w, at, size, below(w, 2) == 0, n);
	}
}

static void near_number(struct work *w)
{
	if (w->len > 0) {
		size_t size;
		size_t at = number_at(w, &size);
		bool big = below(w, 2) == 0;
		put(w, at, size, big, get(w, at, size, big) + below(w, 33) - 16);
	}
}

/* A length that fits what follows, or almost. */
static void set_length(struct work *w)
{
	if (w->len > 0) {
		size_t size;
		size_t at = number_at(w, &size);
		uint64_t rest = w->len - at - (below(w, 2) == 0 ? size : 0);
		rest += below(w, 4) == 0 ? below(w, 3) - 1 : 0;
		put(w, at, size, below(w, 2) == 0, rest);
	}
}

/* A number as text in the place of one. */
static void set_digits(struct work *w)
{
	size_t at = w->len > 0 ? spot(w, w->len) : 0;
	while (at < w->len && (w->data[at] < '0' || w->data[at] > '9')) {
		at++;
	}
	size_t n = 0;
	while (at + n < w->len && w->data[at + n] >= '0' && w->data[at + n] <= '9') {
		n++;
	}
	if (n > 0) {
		char text[24];
		uint64_t number = mix(w->random) >> below(w, 64);
		size_t len =
			(size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
		cut(w, at, n);
		memcpy(w->data + at, text, widen(w, at, len));
	}
}

/* ---- */

static const mutation mutations[] = {
	flip_bit, flip_bit, set_byte,  set_byte,    set_number, near_number, set_length, set_digits,
	cut_some, cut_end,  add_bytes, double_part, move_part,  take_part,   splice,
};

size_t fuzz_make(const struct fuzz_corpus *c, uint64_t seed, uint64_t run, uint8_t *out, size_t cap)
{
	struct work w = {.corpus = c, .data = out, .cap = cap, .random = mix(mix(seed) + run)};
	const struct fuzz_input *in = another(&w);
	w.len = in->len < cap ? in->len : cap;
	memcpy(out, in->data, w.len);
	for (size_t left = few(&w, (size_t)1 << below(&w, 5)); left > 0; left--) {
		mutations[below(&w, sizeof(mutations) / sizeof(mutations[0]))](&w);
	}
	return w.len;
}
