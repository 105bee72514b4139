/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cron.h"

/* ---- timers ---- */

static void timer_end(ob_mock *m, struct timer *t)
{
	ob__mock_vec_take(&m->timers, t);
	ob__mock_obj_close(m->world, &t->obj);
	free(t->cron);
	free(t);
}

/* When the schedule comes next, by the world's clock; 0: it is none, or never comes. */
static uint64_t cron_due(const ob_mock *m, const char *schedule)
{
	struct ob__cron c;
	int64_t now = OB_MOCK_EPOCH + (int64_t)(m->world->now / 1000);
	int64_t next = ob__cron_parse(&c, schedule) == 0 ? ob__cron_next(&c, now, NULL, NULL)
	                                                 : OB__CRON_NEVER;

	return next != OB__CRON_NEVER ? (uint64_t)(next - OB_MOCK_EPOCH) * 1000 : 0;
}

ob_timer ob__mock_work_timer(ob_mock *m, uint64_t delay, uint64_t repeat, ob_timer_fn fn, void *arg)
{
	if (!mock_may_begin(m) || fn == NULL || delay > DELAY_MAX || repeat > DELAY_MAX ||
	    (repeat != 0 && m->phase != PHASE_LIVE)) {
		return 0;
	}
	struct timer *t = calloc(1, sizeof(*t));
	if (t == NULL || ob__mock_obj_open(m->world, &t->obj, KIND_TIMER, m) != 0) {
		free(t);
		return 0;
	}
	/* Never in the moment in which it is set. */
	t->due = m->world->now + (delay > 0 ? delay : 1);
	t->repeat = repeat;
	t->fn = fn;
	t->arg = arg;
	if (ob__mock_vec_add(&m->timers, t) != 0) {
		ob__mock_obj_close(m->world, &t->obj);
		free(t);
		return 0;
	}
	return t->obj.handle;
}

ob_timer ob__mock_work_timer_with(ob_mock *m, const ob_timer_options *o, ob_timer_fn fn, void *arg)
{
	bool by_calendar = o != NULL && o->cron != NULL;

	if (o == NULL || o->size != sizeof(*o) ||
	    (o->flags & ~(OB_TIMER_FIXED | OB_TIMER_LOCAL)) != 0 ||
	    (!by_calendar && (o->flags & OB_TIMER_LOCAL) != 0) ||
	    (by_calendar && (o->delay_ms != 0 || o->repeat_ms != 0 || o->flags & OB_TIMER_FIXED)) ||
	    (!by_calendar && o->repeat_ms == 0 && o->count > 1)) {
		return 0;
	}
	uint64_t due = by_calendar ? cron_due(m, o->cron) : 0;
	char *cron = by_calendar ? strdup(o->cron) : NULL;
	ob_timer handle = !by_calendar || (due != 0 && cron != NULL)
	                          ? ob__mock_work_timer(m, o->delay_ms,
	                                                by_calendar ? 1 : o->repeat_ms, fn, arg)
	                          : 0;
	struct timer *t = ob__mock_obj_get(m->world, handle, KIND_TIMER);
	if (t == NULL) {
		free(cron);
		return 0;
	}
	t->left = o->count;
	t->cron = cron;
	t->due = by_calendar ? due : t->due;
	return handle;
}

int ob__mock_work_timer_stop(ob_mock *m, ob_timer timer)
{
	struct timer *t = ob__mock_obj_get(m->world, timer, KIND_TIMER);

	if (m->phase == PHASE_STOPPED || t == NULL) {
		return mock_no(m, OB_E_STALE);
	}
	timer_end(t->obj.owner, t);
	return 0;
}

static void timer_fire(ob_mock *m, struct timer *t)
{
	ob_timer handle = t->obj.handle;
	ob_timer_fn fn = t->fn;
	void *arg = t->arg;

	if (t->repeat != 0 && t->left != 1) {
		t->left -= t->left > 0;
		t->due = t->cron != NULL ? cron_due(m, t->cron) : t->due + t->repeat;
	} else {
		timer_end(m, t);
	}
	fn(&m->ctx, handle, arg);
}

size_t ob_mock_timers(const ob_mock *m)
{
	return m->timers.len;
}

/* ---- kept messages ---- */

ob_msg ob__mock_work_msg(ob_mock *m, const ob_view *view)
{
	size_t method_len = view->method != NULL ? strlen(view->method) + 1 : 0;
	struct held_msg *h = m->phase != PHASE_STOPPED ? calloc(1, sizeof(*h)) : NULL;

	if (h == NULL) {
		return 0;
	}
	h->bytes = malloc(view->len + method_len + 1);
	if (h->bytes == NULL || ob__mock_obj_open(m->world, &h->obj, KIND_MSG, m) != 0 ||
	    ob__mock_vec_add(&m->msgs, h) != 0) {
		ob__mock_obj_close(m->world, &h->obj);
		free(h->bytes);
		free(h);
		return 0;
	}
	h->view = *view;
	h->view.data = h->bytes;
	if (view->len > 0) {
		memcpy(h->bytes, view->data, view->len);
	}
	if (method_len > 0) {
		memcpy(h->bytes + view->len, view->method, method_len);
		h->view.method = (const char *)h->bytes + view->len;
	}
	return h->obj.handle;
}

int ob__mock_work_msg_view(ob_mock *m, ob_msg msg, ob_view *view)
{
	const struct held_msg *h = ob__mock_obj_get(m->world, msg, KIND_MSG);

	if (m->phase == PHASE_STOPPED || h == NULL) {
		return mock_no(m, OB_E_STALE);
	}
	*view = h->view;
	return 0;
}

static void msg_free(ob_mock *m, struct held_msg *h)
{
	ob__mock_vec_take(&m->msgs, h);
	ob__mock_obj_close(m->world, &h->obj);
	free(h->bytes);
	free(h);
}

int ob__mock_work_msg_release(ob_mock *m, ob_msg msg)
{
	struct held_msg *h = ob__mock_obj_get(m->world, msg, KIND_MSG);

	if (m->phase == PHASE_STOPPED || h == NULL) {
		return mock_no(m, OB_E_STALE);
	}
	msg_free(h->obj.owner, h);
	return 0;
}

/* ---- jobs and posts ---- */

int ob__mock_work_queue(ob_mock *m, const struct work *work)
{
	struct work *copy = malloc(sizeof(*copy));

	if (copy == NULL) {
		return OB_E_NOMEM;
	}
	*copy = *work;
	copy->next = NULL;
	pthread_mutex_lock(&m->lock);
	bool room = m->queue_len < LIST_MAX;
	if (room) {
		*m->queue_end = copy;
		m->queue_end = &copy->next;
		m->queue_len++;
	}
	pthread_mutex_unlock(&m->lock);
	if (!room) {
		free(copy);
	}
	return room ? 0 : OB_E_LIMIT;
}

static struct work *work_next(ob_mock *m)
{
	pthread_mutex_lock(&m->lock);
	struct work *work = m->queue;
	if (work != NULL) {
		m->queue = work->next;
		m->queue_len--;
		if (m->queue == NULL) {
			m->queue_end = &m->queue;
		}
	}
	pthread_mutex_unlock(&m->lock);
	return work;
}

size_t ob_mock_run(ob_mock *m)
{
	size_t done = 0;
	struct work *work;

	while (done < LIST_MAX) {
		work = work_next(m);
		if (work == NULL && ob__mock_events_run(m, 1) == 0) {
			break;
		}
		done++;
		if (work == NULL) {
			continue;
		}
		if (work->self != 0) {
			ob__mock_self_call(m, work->self);
		} else {
			if (work->job != NULL) {
				work->job(work->arg);
			}
			if (work->post != NULL && mock_live(m)) {
				work->post(&m->ctx, work->arg);
			}
		}
		free(work);
	}
	return done;
}

/* ---- time ---- */

/* What comes next, at most at `until`. */
struct next {
	uint64_t due;
	struct timer *timer;
	struct request *request;
	struct call *call;
	struct http_call *http;
};

static struct next find_next(const ob_mock *m, uint64_t until)
{
	struct next n = {.due = until + 1};

	for (size_t i = 0; i < m->timers.len; i++) {
		struct timer *t = m->timers.at[i];
		if (t->due < n.due) {
			n = (struct next){.due = t->due, .timer = t};
		}
	}
	for (size_t i = 0; i < m->requests.len; i++) {
		struct request *r = m->requests.at[i];
		if (r->held && !r->ended && r->deadline < n.due) {
			n = (struct next){.due = r->deadline, .request = r};
		}
	}
	for (size_t i = 0; i < m->calls.len; i++) {
		struct call *c = m->calls.at[i];
		if (!c->pub.ended && c->due < n.due) {
			n = (struct next){.due = c->due, .call = c};
		}
	}
	for (size_t i = 0; i < m->http_calls.len; i++) {
		struct http_call *h = m->http_calls.at[i];
		if (!h->pub.ended && h->due < n.due) {
			n = (struct next){.due = h->due, .http = h};
		}
	}
	return n;
}

void ob_mock_advance(ob_mock *m, uint64_t ms)
{
	uint64_t until = m->world->now + ms;

	for (;;) {
		ob_mock_run(m);
		struct next n = find_next(m, until);
		if (n.due > until) {
			break;
		}
		m->world->now = n.due > m->world->now ? n.due : m->world->now;
		if (n.timer != NULL) {
			timer_fire(m, n.timer);
		} else if (n.request != NULL) {
			ob__mock_request_end(n.request, OB_E_DEADLINE,
			                     "the handler did not answer in time", NULL, 0);
		} else if (n.call != NULL) {
			ob__mock_call_end(n.call, OB_E_DEADLINE, NULL, 0, NULL, 0);
		} else {
			ob_mock_http_fail(m, n.http->pub.call, OB_E_DEADLINE,
			                  "the answer did not come in time");
		}
	}
	m->world->now = until;
	ob_mock_run(m);
}

/* ---- the end of a generation ---- */

void ob__mock_work_drain(ob_mock *m)
{
	ob__mock_watches_end(m);
	for (size_t i = m->timers.len; i > 0; i--) {
		struct timer *t = m->timers.at[i - 1];
		if (t->repeat != 0) {
			timer_end(m, t);
		}
	}
}

void ob__mock_work_expire(ob_mock *m)
{
	while (m->timers.len > 0) {
		timer_fire(m, m->timers.at[0]);
	}
	for (size_t i = 0; i < m->requests.len; i++) {
		struct request *r = m->requests.at[i];
		if (r->held && !r->ended) {
			ob__mock_request_end(r, OB_E_GONE, "the module was taken out", NULL, 0);
		}
	}
}

void ob__mock_work_free(ob_mock *m)
{
	struct work *work;

	ob__mock_brought_free(m);
	while (m->timers.len > 0) {
		timer_end(m, m->timers.at[0]);
	}
	while (m->msgs.len > 0) {
		msg_free(m, m->msgs.at[0]);
	}
	while ((work = work_next(m)) != NULL) {
		free(work);
	}
}
