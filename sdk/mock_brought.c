/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Descriptors that the module has watched, its transports for clients, and clients it brings. */

#include "mock_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- descriptors ---- */

static void watch_end(ob_mock *m, struct watch *w)
{
	ob__mock_vec_take(&m->watches, w);
	ob__mock_obj_close(m->world, &w->obj);
	free(w);
}

static struct watch *watch_of(const ob_mock *m, int fd)
{
	for (size_t i = 0; i < m->watches.len; i++) {
		struct watch *w = m->watches.at[i];
		if (w->fd == fd) {
			return w;
		}
	}
	return NULL;
}

ob_watch ob__mock_fd_watch(ob_mock *m, int fd, uint32_t events, ob_fd_fn fn, void *arg)
{
	if (!mock_may_begin(m) || m->phase != PHASE_LIVE || fn == NULL || fd < 0 || events == 0 ||
	    (events & ~(OB_FD_READABLE | OB_FD_WRITABLE)) != 0 || watch_of(m, fd) != NULL) {
		return 0;
	}
	struct watch *w = calloc(1, sizeof(*w));
	if (w == NULL || ob__mock_obj_open(m->world, &w->obj, KIND_WATCH, m) != 0) {
		free(w);
		return 0;
	}
	w->fd = fd;
	w->events = events;
	w->fn = fn;
	w->arg = arg;
	if (ob__mock_vec_add(&m->watches, w) != 0) {
		ob__mock_obj_close(m->world, &w->obj);
		free(w);
		return 0;
	}
	return w->obj.handle;
}

int ob__mock_fd_unwatch(ob_mock *m, ob_watch watch)
{
	struct watch *w = ob__mock_obj_get(m->world, watch, KIND_WATCH);

	if (m->phase == PHASE_STOPPED || w == NULL) {
		return mock_no(m, OB_E_STALE);
	}
	watch_end(w->obj.owner, w);
	return 0;
}

uint32_t ob_mock_watched(const ob_mock *m, int fd)
{
	const struct watch *w = watch_of(m, fd);

	return w != NULL ? w->events : 0;
}

int ob_mock_fd_ready(ob_mock *m, int fd, uint32_t events)
{
	struct watch *w = watch_of(m, fd);

	if (w == NULL || m->phase != PHASE_LIVE || (events & ~(w->events | OB_FD_BROKEN)) != 0) {
		return OB_E_NOT_FOUND;
	}
	ob_watch handle = w->obj.handle;
	ob_fd_fn fn = w->fn;
	void *arg = w->arg;
	if ((events & OB_FD_BROKEN) != 0) {
		watch_end(m, w);
	}
	fn(&m->ctx, handle, events, arg);
	return 0;
}

void ob__mock_watches_end(ob_mock *m)
{
	while (m->watches.len > 0) {
		watch_end(m, m->watches.at[0]);
	}
}

/* ---- clients ---- */

const ob_client_transport *ob_mock_client_transport(const ob_mock *m, const char *name)
{
	const struct reg *reg = ob__mock_reg_by_name(m, REG_CLIENT_TRANSPORT, name);

	return reg != NULL ? &reg->client_transport : NULL;
}

int ob__mock_client_adopt(ob_mock *m, int fd, const ob_adopt_options *o)
{
	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (fd < 0 || o == NULL || o->size != sizeof(*o) || o->door == 0 ||
	    (o->peer != NULL && strrchr(o->peer, ':') == NULL)) {
		return OB_E_INVAL;
	}
	if (m->adopt_says != 0) {
		return m->adopt_says;
	}
	ob_mock_adopted *a = calloc(1, sizeof(*a));
	if (a == NULL || ob__mock_vec_add(&m->adopted, a) != 0) {
		free(a);
		return OB_E_NOMEM;
	}
	a->fd = fd;
	a->door = o->door;
	a->client = o->client;
	snprintf(a->peer, sizeof(a->peer), "%s", o->peer != NULL ? o->peer : "");
	return 0;
}

void ob_mock_adopt_says(ob_mock *m, int code)
{
	m->adopt_says = code;
}

ob_mock_adopted *ob_mock_adopted_at(const ob_mock *m, size_t i)
{
	return vec_get(&m->adopted, i);
}

void ob__mock_brought_free(ob_mock *m)
{
	ob__mock_watches_end(m);
	for (size_t i = 0; i < m->adopted.len; i++) {
		ob_mock_adopted *a = m->adopted.at[i];
		if (a->fd >= 0) {
			close(a->fd);
		}
		free(a);
	}
	free(m->adopted.at);
	free(m->watches.at);
}
