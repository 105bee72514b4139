/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/gate_priv.h"

#include <stdlib.h>

#include "host/call/callfilter.h"
#include "host/client/conn.h"
#include "host/node.h"

static void drop_gates(struct ob__serial *s)
{
	while (!ob__list_empty(&s->gates)) {
		ob__gate_free(OB__CONTAINER(s->gates.next, struct ob__gate, link));
	}
}

static void serial_free(struct ob__serial *s)
{
	drop_gates(s);
	free(s);
}

/* Whatever may go goes; without any left, it is forgotten. */
static void serial_turn(void *arg)
{
	struct ob__serial *s = arg;
	struct ob__node *node = s->node;
	struct ob__conn *conn = ob__gate_conn(node, s->session);

	while (!s->gone && conn != NULL && conn->session != NULL && conn->in_flight == 0 &&
	       !ob__list_empty(&s->gates)) {
		struct ob__gate *g = OB__CONTAINER(s->gates.next, struct ob__gate, link);
		s->len--;
		ob__gate_go_on(g);
	}
	s->queued = false;
	if (s->gone) {
		serial_free(s);
		return;
	}
	if (conn != NULL && conn->session != NULL && ob__list_empty(&s->gates)) {
		conn->paused &= ~(uint32_t)OB__CONN_SERIAL;
		(void)ob__map_del(&node->gates.serial, s->session, 0);
		serial_free(s);
	}
}

void ob__serial_next(struct ob__conn *conn)
{
	struct ob__gates *gs = &conn->node->gates;
	struct ob__serial *s =
		conn->session != NULL ? ob__map_get(&gs->serial, conn->session->handle, 0) : NULL;

	if (s != NULL && !s->queued) {
		s->queued = ob__loop_defer(conn->node->loop, serial_turn, s) == 0;
	}
}

void ob__serial_drop(struct ob__node *node, uint64_t session)
{
	struct ob__serial *s = ob__map_del(&node->gates.serial, session, 0);

	if (s == NULL) {
		return;
	}
	s->gone = true;
	drop_gates(s); /* now: their times are still set */
	if (!s->queued) {
		serial_free(s);
	}
}

static struct ob__serial *serial_of(struct ob__conn *conn)
{
	struct ob__gates *gs = &conn->node->gates;
	uint64_t session = conn->session->handle;
	struct ob__serial *s = ob__map_get(&gs->serial, session, 0);

	if (s != NULL || (s = calloc(1, sizeof(*s))) == NULL) {
		return s;
	}
	s->node = conn->node;
	s->session = session;
	ob__list_init(&s->gates);
	if (ob__map_put(&gs->serial, session, 0, s) != 0) {
		free(s);
		return NULL;
	}
	conn->paused |= OB__CONN_SERIAL;
	return s;
}

/* Keeps it until the client's requests have ended. 0 or OB_E_BUSY. */
static int serial_put(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                      uint64_t budget_ms)
{
	const struct ob__filters_conf *f = &node->conf->filters;
	struct ob__serial *s = serial_of(conn);
	struct ob__gate *g =
		s != NULL && s->len < f->serial_queue ? ob__gate_new(node, p->len) : NULL;

	if (g == NULL) {
		++*node->gates.too_many;
		return OB_E_BUSY;
	}
	g->session = conn->session->handle;
	g->packet = *p;
	if (ob__gate_keep(g, p->data, p->len, p->name, p->name_len) != 0) {
		ob__gate_free(g);
		return OB_E_BUSY;
	}
	ob__list_append(&s->gates, &g->link);
	s->len++;
	++*node->gates.waited;
	ob__gate_arm(g, budget_ms, f->serial_wait_ms);
	return 0;
}

void ob__serials_free(struct ob__node *node)
{
	struct ob__gates *gs = &node->gates;
	struct ob__map_entry *e;

	for (size_t i = 0; (e = ob__map_next(&gs->serial, &i)) != NULL;) {
		struct ob__serial *s = e->value;
		s->gone = true;
		if (!s->queued) {
			serial_free(s);
		} else {
			drop_gates(s); /* its turn still comes */
		}
	}
	ob__map_free(&gs->serial);
}

/* ---- what is built in ---- */

bool ob__gate_watch(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                    uint64_t *budget_ms, int *code, const char **text)
{
	const struct ob__filters_conf *f = &node->conf->filters;
	uint32_t ms;

	*code = 0;
	*text = NULL;
	if (ob__idrange_find(&f->timeouts, p->id, &ms)) {
		*budget_ms = ms;
	}
	if (f->too_busy_ms != 0 && p->one_way == 0 && ob__callfilter_late(node, f->too_busy_ms)) {
		*code = OB_E_BUSY;
		*text = "the node is too busy";
		return false;
	}
	if (f->serial_queue > 0 && (conn->in_flight > 0 || (conn->paused & OB__CONN_SERIAL) != 0)) {
		*code = serial_put(node, conn, p, *budget_ms);
		*text = "too many messages wait for the request before them";
		return false;
	}
	return true;
}
