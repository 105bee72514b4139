/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/httpc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>
#include <uv.h>

#include <obhost/obhost.h>

#include "lib/buf.h"
#include "lib/slab.h"
#include "net/http_parse.h"

#define TIMEOUT_MS    5000u
#define MAX_BODY      (1u << 20)
#define MAX_BODY_EVER (1u << 30)
#define MAX_URL       8192u
#define MAX_HEADERS   100u
#define MAX_REQUESTS  1024u
#define MAX_IDLE      64L /* connections kept for reuse */
#define HANDLE_KIND   13u

struct ob__httpc {
	struct ob__loop *loop;
	CURLM *multi;
	uv_timer_t timer;
	struct ob__slab requests;
	uint32_t handles; /* uv handles not closed yet, the timer's included */
	bool freed;       /* the last handle takes it along */
};

/* In the slab. */
struct request {
	struct ob__httpc *c;
	CURL *easy;
	struct curl_slist *headers;
	struct ob__buf body;
	size_t max_body;
	bool too_big;
	ob__httpc_cb cb;
	void *arg;
	char error[CURL_ERROR_SIZE];
};

struct watch {
	uv_poll_t poll; /* first, so that the close callback gets the struct */
	struct ob__httpc *c;
	curl_socket_t fd;
};

/* ---------------------------------------------------------------- the end of things */

static void client_gone(struct ob__httpc *c)
{
	ob__slab_destroy(&c->requests);
	free(c);
}

static void handle_gone(struct ob__httpc *c)
{
	if (--c->handles == 0) {
		client_gone(c);
	}
}

static void on_timer_closed(uv_handle_t *handle)
{
	handle_gone(handle->data);
}

static void on_watch_closed(uv_handle_t *handle)
{
	struct watch *w = handle->data;
	struct ob__httpc *c = w->c;
	free(w);
	handle_gone(c);
}

static void request_free(struct request *r)
{
	struct ob__httpc *c = r->c;
	if (r->easy) {
		curl_multi_remove_handle(c->multi, r->easy);
		curl_easy_cleanup(r->easy);
	}
	curl_slist_free_all(r->headers);
	ob__buf_free(&r->body);
	ob__slab_free(&c->requests, r);
}

/* ---------------------------------------------------------------- results */

static int result_of(const struct request *r, CURLcode code)
{
	if (r->too_big) {
		return OB_E_TOO_BIG;
	}
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_OPERATION_TIMEDOUT:
		return OB_E_DEADLINE;
	case CURLE_FILESIZE_EXCEEDED:
		return OB_E_TOO_BIG;
	case CURLE_OUT_OF_MEMORY:
		return OB_E_NOMEM;
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return OB_E_MAYBE_SENT;
	default:
		return OB_E_NOT_SENT;
	}
}

static void finish(struct request *r, CURLcode code)
{
	long status = 0;
	const char *type = NULL;
	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(r->easy, CURLINFO_CONTENT_TYPE, &type);
	struct ob__httpc_response res = {
		.code = result_of(r, code),
		.content_type = type ? type : "",
		.text = "",
	};
	if (res.code == 0) {
		res.status = (int)status;
		res.data = r->body.data ? r->body.data : (const uint8_t *)"";
		res.len = r->body.len;
	} else if (res.code == OB_E_TOO_BIG) {
		res.text = "the answer is longer than max_body";
	} else {
		res.text = r->error[0] != '\0' ? r->error : curl_easy_strerror(code);
	}
	r->cb(&res, r->arg);
}

/* Requests that have ended.  The callback may start, cancel and free. */
static void take_ended(struct ob__httpc *c)
{
	while (!c->freed) {
		int left;
		CURLMsg *msg = curl_multi_info_read(c->multi, &left);
		if (!msg) {
			break;
		}
		if (msg->msg != CURLMSG_DONE) {
			continue;
		}
		CURLcode code = msg->data.result;
		struct request *r = NULL;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&r);
		uint64_t id = ob__slab_handle(&c->requests, r);
		finish(r, code);
		if (!c->freed && ob__slab_get(&c->requests, id)) {
			request_free(r);
		}
	}
}

/* ---------------------------------------------------------------- libcurl and libuv */

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	int what = status < 0 ? CURL_CSELECT_ERR : 0;
	what |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
	what |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
	struct ob__httpc *c = w->c;
	int still;
	curl_multi_socket_action(c->multi, w->fd, what, &still);
	take_ended(c);
}

static void on_timer(uv_timer_t *timer)
{
	struct ob__httpc *c = timer->data;
	int still;
	curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &still);
	take_ended(c);
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
	(void)multi;
	struct ob__httpc *c = arg;
	if (c->freed) {
		return 0;
	}
	if (ms < 0) {
		uv_timer_stop(&c->timer);
	} else {
		uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
	}
	return 0;
}

static struct watch *watch_new(struct ob__httpc *c, curl_socket_t fd)
{
	struct watch *w = malloc(sizeof(*w));
	if (!w) {
		return NULL;
	}
	*w = (struct watch){.c = c, .fd = fd};
	if (uv_poll_init_socket(ob__loop_uv(c->loop), &w->poll, fd) < 0) {
		free(w);
		return NULL;
	}
	w->poll.data = w;
	c->handles++;
	curl_multi_assign(c->multi, fd, w);
	return w;
}

static int set_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	(void)easy;
	struct ob__httpc *c = arg;
	struct watch *w = socket_arg;
	if (what == CURL_POLL_REMOVE) {
		if (w) {
			curl_multi_assign(c->multi, fd, NULL);
			uv_close((uv_handle_t *)&w->poll, on_watch_closed);
		}
		return 0;
	}
	if (!w) {
		w = watch_new(c, fd);
		if (!w) {
			return -1;
		}
	}
	int events = what & CURL_POLL_IN ? UV_READABLE : 0;
	events |= what & CURL_POLL_OUT ? UV_WRITABLE : 0;
	return uv_poll_start(&w->poll, events, on_ready) < 0 ? -1 : 0;
}

struct ob__httpc *ob__httpc_new(struct ob__loop *loop, uint32_t max_requests)
{
	struct ob__httpc *c = calloc(1, sizeof(*c));
	if (!c) {
		return NULL;
	}
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		goto out;
	}
	c->multi = curl_multi_init();
	if (!c->multi) {
		curl_global_cleanup();
		goto out;
	}
	c->loop = loop;
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_watch);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, MAX_IDLE);
	uv_timer_init(ob__loop_uv(loop), &c->timer);
	c->timer.data = c;
	c->handles = 1;
	ob__slab_init(&c->requests, sizeof(struct request), HANDLE_KIND,
	              max_requests > 0 ? max_requests : MAX_REQUESTS);
	return c;

out:
	free(c);
	return NULL;
}

void ob__httpc_free(struct ob__httpc *c)
{
	if (!c || c->freed) {
		return;
	}
	c->freed = true;
	uint32_t pos = 0;
	struct request *r;
	while ((r = ob__slab_next(&c->requests, &pos)) != NULL) {
		request_free(r);
	}
	curl_multi_cleanup(c->multi); /* closes idle connections, through set_watch() */
	curl_global_cleanup();
	uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

/* ---------------------------------------------------------------- starting */

static bool url_ok(const char *url)
{
	if (!url || strlen(url) > MAX_URL) {
		return false;
	}
	for (const char *c = url; *c != '\0'; c++) {
		if (*c <= 0x20 || *c == 0x7f) { /* what is beyond ASCII is negative */
			return false;
		}
	}
	if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0) {
		return false;
	}
	CURLU *u = curl_url();
	bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK;
	curl_url_cleanup(u);
	return ok;
}

static bool method_ok(const char *method)
{
	return ob__http_is_token(method, strlen(method)) && strcasecmp(method, "CONNECT") != 0 &&
	       strcasecmp(method, "TRACE") != 0;
}

/* "Name: value", and not one that libcurl writes itself. */
static bool header_ok(const char *header)
{
	static const char *const ours[] = {"Content-Length", "Transfer-Encoding", "Connection"};
	const char *colon = strchr(header, ':');
	if (!colon || !ob__http_is_token(header, (size_t)(colon - header))) {
		return false;
	}
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strncasecmp(header, ours[i], strlen(ours[i])) == 0 &&
		    header + strlen(ours[i]) == colon) {
			return false;
		}
	}
	for (const unsigned char *c = (const unsigned char *)colon; *c != '\0'; c++) {
		if ((*c < 0x20 && *c != '\t') || *c == 0x7f) {
			return false;
		}
	}
	return true;
}

static int add_header(struct request *r, const char *header)
{
	struct curl_slist *list = curl_slist_append(r->headers, header);
	if (!list) {
		return OB_E_NOMEM;
	}
	r->headers = list;
	return 0;
}

/* libcurl reads "Name:" as "leave it out", and "Name;" as one without a value. */
static int add_users_header(struct request *r, const char *header)
{
	const char *colon = strchr(header, ':');
	if (colon[1 + strspn(colon + 1, " \t")] != '\0') {
		return add_header(r, header);
	}
	char *empty = strndup(header, (size_t)(colon - header) + 1);
	if (!empty) {
		return OB_E_NOMEM;
	}
	empty[colon - header] = ';';
	int rc = add_header(r, empty);
	free(empty);
	return rc;
}

static bool has_header(const struct ob__httpc_request *req, const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; req->headers && req->headers[i]; i++) {
		if (strncasecmp(req->headers[i], name, len) == 0 && req->headers[i][len] == ':') {
			return true;
		}
	}
	return false;
}

static int add_headers(struct request *r, const struct ob__httpc_request *req)
{
	/* What libcurl would add by itself and nobody asked for. */
	int rc = has_header(req, "Expect") ? 0 : add_header(r, "Expect:");
	if (rc == 0 && !has_header(req, "Content-Type")) {
		rc = add_header(r, "Content-Type:");
	}
	for (size_t i = 0; rc == 0 && req->headers && req->headers[i]; i++) {
		rc = add_users_header(r, req->headers[i]);
	}
	return rc;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct request *r = arg;
	size_t len = size * n;
	if (len > r->max_body - r->body.len) {
		r->too_big = true;
		return 0;
	}
	return ob__buf_append(&r->body, data, len) < 0 ? 0 : len;
}

static CURLcode set_method(struct request *r, const struct ob__httpc_request *req)
{
	const char *method = req->method ? req->method : "GET";
	if (strcmp(method, "HEAD") == 0 && req->body_len == 0) {
		return curl_easy_setopt(r->easy, CURLOPT_NOBODY, 1L);
	}
	if (req->body_len > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
		CURLcode code = curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE,
		                                 (curl_off_t)req->body_len);
		if (code == CURLE_OK) {
			code = curl_easy_setopt(r->easy, CURLOPT_COPYPOSTFIELDS,
			                        req->body_len > 0 ? req->body : "");
		}
		if (code != CURLE_OK) {
			return code;
		}
	}
	return curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Else ending a request whose name is still being looked up waits for the resolver's
	 * thread, and the loop with it.  The thread cleans up after itself. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
}

static int prepare(struct request *r, const struct ob__httpc_request *req)
{
	int rc = add_headers(r, req);
	if (rc < 0) {
		return rc;
	}
	r->easy = curl_easy_init();
	if (!r->easy) {
		return OB_E_NOMEM;
	}
	long ms = req->timeout_ms > 0 && req->timeout_ms <= INT32_MAX ? (long)req->timeout_ms
	                                                              : (long)TIMEOUT_MS;
	set_protocols(r->easy);
	curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(r->easy, CURLOPT_PROXY, ""); /* not what http_proxy happens to be */
	curl_easy_setopt(r->easy, CURLOPT_USERAGENT, "obhost");
	curl_easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->error);
	curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
	curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, ms);
	curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS, ms);
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
	curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
	if (strcmp(req->method ? req->method : "GET", "HEAD") != 0) {
		curl_easy_setopt(r->easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)r->max_body);
	}
	CURLcode code = curl_easy_setopt(r->easy, CURLOPT_URL, req->url);
	if (code == CURLE_OK) {
		code = set_method(r, req);
	}
	return code == CURLE_OK ? 0 : OB_E_NOMEM;
}

static bool request_ok(const struct ob__httpc_request *req)
{
	if (!url_ok(req->url) || (req->method && !method_ok(req->method)) ||
	    (req->body_len > 0 && !req->body)) {
		return false;
	}
	for (size_t i = 0; req->headers && req->headers[i]; i++) {
		if (i >= MAX_HEADERS || !header_ok(req->headers[i])) {
			return false;
		}
	}
	return true;
}

int ob__httpc_start(struct ob__httpc *c, const struct ob__httpc_request *req, ob__httpc_cb cb,
                    void *arg, uint64_t *id)
{
	if (!request_ok(req)) {
		return OB_E_INVAL;
	}
	if (c->freed || c->requests.live >= c->requests.limit) {
		return OB_E_LIMIT;
	}
	uint64_t handle;
	struct request *r = ob__slab_alloc(&c->requests, &handle);
	if (!r) {
		return OB_E_NOMEM;
	}
	r->c = c;
	r->cb = cb;
	r->arg = arg;
	r->max_body = req->max_body > 0 ? req->max_body : MAX_BODY;
	if (r->max_body > MAX_BODY_EVER) {
		r->max_body = MAX_BODY_EVER;
	}
	int rc = prepare(r, req);
	if (rc == 0 && curl_multi_add_handle(c->multi, r->easy) != CURLM_OK) {
		rc = OB_E_NOMEM;
	}
	if (rc < 0) {
		request_free(r);
		return rc;
	}
	if (id) {
		*id = handle;
	}
	return 0;
}

void ob__httpc_cancel(struct ob__httpc *c, uint64_t id)
{
	struct request *r = ob__slab_get(&c->requests, id);
	if (r) {
		request_free(r);
	}
}
