/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/replay.h"

#include <stdlib.h>
#include <string.h>

void ob__replay_init(struct ob__replay *r, size_t *all, uint64_t sent)
{
	*r = (struct ob__replay){.sent = sent, .seen = sent, .all = all};
	ob__list_init(&r->items);
}

static size_t size_of(const struct ob__replay_msg *msg)
{
	return OB__REPLAY_OVERHEAD + msg->name_len + msg->len;
}

static struct ob__replay_item *item_of(struct ob__list *link)
{
	return OB__CONTAINER(link, struct ob__replay_item, link);
}

static void drop(struct ob__replay *r, struct ob__replay_item *item)
{
	size_t size = size_of(&item->msg);

	ob__list_del(&item->link);
	r->len--;
	r->bytes -= size;
	*r->all -= size;
	free(item);
}

static void drop_all(struct ob__replay *r)
{
	while (r->len > 0) {
		drop(r, item_of(r->items.next));
	}
}

void ob__replay_free(struct ob__replay *r)
{
	if (r != NULL) {
		drop_all(r);
	}
}

static const void *put_bytes(uint8_t *to, const void *from, size_t len)
{
	if (len > 0) {
		memcpy(to, from, len);
	}
	return to;
}

static struct ob__replay_item *copy(const struct ob__replay_msg *msg)
{
	struct ob__replay_item *item = malloc(sizeof(*item) + msg->name_len + msg->len);

	if (item == NULL) {
		return NULL;
	}
	item->msg = *msg;
	item->msg.data = put_bytes(item->bytes, msg->data, msg->len);
	if (msg->name != NULL) {
		item->msg.name = put_bytes(item->bytes + msg->len, msg->name, msg->name_len);
	}
	ob__list_init(&item->link);
	return item;
}

static bool has_room(const struct ob__replay *r, size_t size, const struct ob__replay_bounds *max)
{
	return r->len < max->messages && r->bytes + size <= max->bytes &&
	       *r->all + size <= max->all;
}

uint64_t ob__replay_put(struct ob__replay *r, const struct ob__replay_msg *msg,
                        const struct ob__replay_bounds *max)
{
	size_t size = size_of(msg);

	r->sent++;
	while (r->len > 0 && !has_room(r, size, max)) {
		drop(r, item_of(r->items.next));
	}
	struct ob__replay_item *item = has_room(r, size, max) ? copy(msg) : NULL;
	if (item == NULL) {
		drop_all(r);
		return r->sent;
	}
	item->number = r->sent;
	ob__list_append(&r->items, &item->link);
	r->len++;
	r->bytes += size;
	*r->all += size;
	return r->sent;
}

bool ob__replay_take_back(struct ob__replay *r, uint64_t number)
{
	if (number != r->sent || number == 0) {
		return false;
	}
	if (r->len > 0) {
		drop(r, item_of(r->items.prev));
	}
	r->sent--;
	return true;
}

bool ob__replay_seen(struct ob__replay *r, uint64_t seen)
{
	if (seen > r->sent) {
		return false;
	}
	r->seen = seen > r->seen ? seen : r->seen;
	while (r->len > 0 && item_of(r->items.next)->number <= seen) {
		drop(r, item_of(r->items.next));
	}
	return true;
}

bool ob__replay_has(const struct ob__replay *r, uint64_t seen)
{
	return seen <= r->sent && seen >= r->sent - r->len;
}

const struct ob__replay_item *ob__replay_next(const struct ob__replay *r, uint64_t number)
{
	OB__LIST_EACH (it, &r->items) {
		const struct ob__replay_item *item =
			OB__CONTAINER(it, struct ob__replay_item, link);
		if (item->number > number) {
			return item;
		}
	}
	return NULL;
}

const struct ob__replay_item *ob__replay_after(const struct ob__replay *r,
                                               const struct ob__replay_item *item)
{
	return item->link.next != &r->items ? item_of(item->link.next) : NULL;
}
