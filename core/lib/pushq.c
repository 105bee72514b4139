/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/pushq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ob__pushq_init(struct ob__pushq *q)
{
	*q = (struct ob__pushq){.len = 0};
	ob__list_init(&q->items);
}

static void take_out(struct ob__pushq *q, struct ob__pushq_item *item)
{
	ob__list_del(&item->link);
	q->len--;
	q->bytes -= item->len + OB__PUSHQ_OVERHEAD;
}

struct ob__pushq_item *ob__pushq_take(struct ob__pushq *q)
{
	if (q->len == 0) {
		return NULL;
	}
	struct ob__pushq_item *item = OB__CONTAINER(q->items.next, struct ob__pushq_item, link);
	take_out(q, item);
	return item;
}

void ob__pushq_free(struct ob__pushq *q)
{
	struct ob__pushq_item *item;
	while (q != NULL && (item = ob__pushq_take(q)) != NULL) {
		free(item);
	}
}

static struct ob__pushq_item *find(const struct ob__pushq *q, uint32_t id)
{
	OB__LIST_EACH (it, &q->items) {
		struct ob__pushq_item *item = OB__CONTAINER(it, struct ob__pushq_item, link);
		if (item->id == id) {
			return item;
		}
	}
	return NULL;
}

int ob__pushq_put(struct ob__pushq *q, uint32_t id, const void *data, size_t len, size_t max,
                  bool conflate, uint32_t *dropped)
{
	*dropped = 0;
	if (len + OB__PUSHQ_OVERHEAD > max) {
		return -E2BIG;
	}
	struct ob__pushq_item *item = malloc(sizeof(*item) + len);
	if (item == NULL) {
		return -ENOMEM;
	}
	item->id = id;
	item->len = len;
	if (len > 0) {
		memcpy(item->data, data, len);
	}
	struct ob__pushq_item *former = conflate ? find(q, id) : NULL;
	if (former != NULL) {
		take_out(q, former);
		free(former);
		++*dropped;
	}
	while (q->len > 0 &&
	       (q->bytes + len + OB__PUSHQ_OVERHEAD > max || q->len >= OB__PUSHQ_LEN_MAX)) {
		free(ob__pushq_take(q));
		++*dropped;
	}
	ob__list_append(&q->items, &item->link);
	q->len++;
	q->bytes += len + OB__PUSHQ_OVERHEAD;
	return 0;
}
