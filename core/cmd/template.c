/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "cmd/template.h"

#include <string.h>

struct sink {
	char *out;
	size_t cap;
	size_t len;
};

static void put(struct sink *s, const char *p, size_t n)
{
	if (s->len < s->cap) {
		size_t room = s->cap - s->len;
		memcpy(s->out + s->len, p, n < room ? n : room);
	}
	s->len += n;
}

/* The word that stands at p, an @, or NULL. */
static const struct ob__template_word *
word_at(const char *p, const char *end, const struct ob__template_word *words, size_t words_len)
{
	for (size_t i = 0; i < words_len; i++) {
		size_t n = strlen(words[i].word);
		if ((size_t)(end - p) >= n + 2 && memcmp(p + 1, words[i].word, n) == 0 &&
		    p[n + 1] == '@') {
			return &words[i];
		}
	}
	return NULL;
}

size_t ob__template_expand(char *out, size_t cap, const char *text, size_t len,
                           const struct ob__template_word *words, size_t words_len)
{
	struct sink s = {out, cap, 0};
	const char *end = text + len;

	for (const char *p = text; p < end;) {
		const char *at = memchr(p, '@', (size_t)(end - p));
		if (at == NULL) {
			put(&s, p, (size_t)(end - p));
			break;
		}
		put(&s, p, (size_t)(at - p));
		const struct ob__template_word *w = word_at(at, end, words, words_len);
		if (w == NULL) {
			put(&s, at, 1);
			p = at + 1;
			continue;
		}
		put(&s, w->value, strlen(w->value));
		p = at + strlen(w->word) + 2;
	}
	return s.len;
}
