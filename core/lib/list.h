/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  An intrusive doubly linked list.
 *
 * The link lives inside the object, so putting an object on a list allocates nothing and taking it
 * off needs no search.  A head is a link that points at itself.  A link that is on no list also
 * points at itself, so ob__list_del() twice is harmless and ob__list_on() can ask.
 */

#ifndef OB__LIST_H
#define OB__LIST_H

#include <stdbool.h>
#include <stddef.h>

struct ob__list {
	struct ob__list *next;
	struct ob__list *prev;
};

#define OB__CONTAINER(ptr, type, member) ((type *)(((char *)(ptr)) - offsetof(type, member)))

/* Walks `head`; `it` may not be removed in the body (use OB__LIST_EACH_SAFE for that). */
#define OB__LIST_EACH(it, head) \
	for (struct ob__list *it = (head)->next; it != (head); it = it->next)

/* As above; the body may remove `it`, and nothing else. */
#define OB__LIST_EACH_SAFE(it, head)                                                  \
	for (struct ob__list *it = (head)->next, *it##_next = it->next; it != (head); \
	     it = it##_next, it##_next = it->next)

static inline void ob__list_init(struct ob__list *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool ob__list_empty(const struct ob__list *head)
{
	return head->next == head;
}

static inline bool ob__list_on(const struct ob__list *l)
{
	return l->next != l;
}

static inline void ob__list_insert_before(struct ob__list *at, struct ob__list *l)
{
	l->prev = at->prev;
	l->next = at;
	at->prev->next = l;
	at->prev = l;
}

static inline void ob__list_append(struct ob__list *head, struct ob__list *l)
{
	ob__list_insert_before(head, l);
}

static inline void ob__list_del(struct ob__list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	ob__list_init(l);
}

/* Moves the whole of `from` to the end of `to`; `from` is empty afterwards. */
static inline void ob__list_splice(struct ob__list *to, struct ob__list *from)
{
	if (ob__list_empty(from)) {
		return;
	}
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	ob__list_init(from);
}

#endif
