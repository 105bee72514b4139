/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "md5.h"

#include <endian.h>
#include <string.h>

#define BLOCK 64

/* floor(2^32 * |sin(i + 1)|) */
static const uint32_t sines[64] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
	0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
	0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
	0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
	0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
	0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
	0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
	0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
	0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
	0xeb86d391,
};

/* How far each step of a round rotates, four in turn. */
static const uint8_t rotations[4][4] = {
	{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static uint32_t mix(unsigned round, uint32_t b, uint32_t c, uint32_t d)
{
	switch (round) {
	case 0:
		return (b & c) | (~b & d);
	case 1:
		return (b & d) | (c & ~d);
	case 2:
		return b ^ c ^ d;
	default:
		return c ^ (b | ~d);
	}
}

static unsigned word_of(unsigned round, unsigned i)
{
	static const uint8_t factor[4] = {1, 5, 3, 7};
	static const uint8_t first[4] = {0, 1, 5, 0};

	return (factor[round] * i + first[round]) % 16;
}

static void add_block(uint32_t sum[4], const uint8_t block[BLOCK])
{
	uint32_t a = sum[0];
	uint32_t b = sum[1];
	uint32_t c = sum[2];
	uint32_t d = sum[3];

	for (unsigned i = 0; i < 64; i++) {
		unsigned round = i / 16;
		unsigned by = rotations[round][i % 4];
		uint32_t word;

		memcpy(&word, block + sizeof(word) * word_of(round, i), sizeof(word));

		uint32_t turned = a + mix(round, b, c, d) + sines[i] + le32toh(word);

		a = d;
		d = c;
		c = b;
		b += turned << by | turned >> (32 - by);
	}
	sum[0] += a;
	sum[1] += b;
	sum[2] += c;
	sum[3] += d;
}

void pomelo_md5(const void *data, size_t len, uint8_t out[16])
{
	const uint8_t *bytes = data;
	uint32_t sum[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
	uint8_t tail[2 * BLOCK] = {0};
	uint64_t bits = htole64((uint64_t)len * 8);
	size_t at = 0;

	for (; len - at >= BLOCK; at += BLOCK) {
		add_block(sum, bytes + at);
	}

	size_t left = len - at;
	size_t size = left + 1 + sizeof(bits) <= BLOCK ? BLOCK : 2 * BLOCK;

	if (left > 0) {
		memcpy(tail, bytes + at, left);
	}
	tail[left] = 0x80;
	memcpy(tail + size - sizeof(bits), &bits, sizeof(bits));
	for (at = 0; at < size; at += BLOCK) {
		add_block(sum, tail + at);
	}
	for (int i = 0; i < 4; i++) {
		sum[i] = htole32(sum[i]);
	}
	memcpy(out, sum, sizeof(sum));
}

void pomelo_version(const void *data, size_t len, char out[POMELO_VERSION_SIZE])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t sum[18] = {0};
	char *to = out;

	pomelo_md5(data, len, sum);
	for (int i = 0; i < 18; i += 3) {
		uint32_t three = (uint32_t)sum[i] << 16 | (uint32_t)sum[i + 1] << 8 | sum[i + 2];

		for (int shift = 18; shift >= 0; shift -= 6) {
			*to++ = digits[three >> shift & 63];
		}
	}
	out[22] = '='; /* 16 bytes are five groups and one byte */
	out[23] = '=';
	out[24] = '\0';
}
