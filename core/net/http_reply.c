/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "net/http_priv.h"

#define HEADERS_MAX 8192u /* bytes that ob__http_set_header() may add */
#define HEAD_ROOM   512u  /* for what the server writes itself */
#define TYPE_MAX    128u

const char *ob__http_status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{100, "Continue"},
		{101, "Switching Protocols"},
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{206, "Partial Content"},
		{301, "Moved Permanently"},
		{302, "Found"},
		{303, "See Other"},
		{304, "Not Modified"},
		{307, "Temporary Redirect"},
		{308, "Permanent Redirect"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{406, "Not Acceptable"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{410, "Gone"},
		{411, "Length Required"},
		{412, "Precondition Failed"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{415, "Unsupported Media Type"},
		{416, "Range Not Satisfiable"},
		{417, "Expectation Failed"},
		{422, "Unprocessable Content"},
		{423, "Locked"},
		{426, "Upgrade Required"},
		{428, "Precondition Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i].status == status) {
			return texts[i].text;
		}
	}
	return "Unknown";
}

/* ---------------------------------------------------------------- headers of the answer */

/* Nothing that would end the line, or that some reader might take for its end. */
static bool is_plain(const char *s)
{
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		if ((c < 0x20 && c != '\t') || c == 0x7f) {
			return false;
		}
	}
	return true;
}

/* What the server itself writes can't be written twice. */
static bool is_ours(const char *name)
{
	static const char *const ours[] = {"connection",   "content-length", "transfer-encoding",
	                                   "content-type", "date",           "upgrade"};
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strcasecmp(name, ours[i]) == 0) {
			return true;
		}
	}
	return false;
}

int ob__http_set_header(struct ob__http_server *srv, uint64_t handle, const char *name,
                        const char *value)
{
	struct ob__http_waiting *w = ob__http_find(srv, handle);
	if (!w) {
		return -ESTALE;
	}
	size_t len = strlen(name);
	if (!ob__http_is_token(name, len) || !is_plain(value) || is_ours(name)) {
		return -EINVAL;
	}
	struct ob__buf *headers = &w->conn->headers;
	if (len + strlen(value) + 4 > HEADERS_MAX - headers->len) {
		return -E2BIG;
	}
	return ob__buf_printf(headers, "%s: %s\r\n", name, value);
}

/* ---------------------------------------------------------------- the answer */

static const char *date_line(struct ob__http_server *srv)
{
	time_t now = time(NULL);
	if (now != srv->date_second) {
		static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
		static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
		                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
		struct tm tm;
		gmtime_r(&now, &tm);
		/* Not strftime(): its names follow the locale. */
		snprintf(srv->date, sizeof(srv->date), "%s, %02u %s %04u %02u:%02u:%02u GMT",
		         days[tm.tm_wday % 7], (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
		         ((unsigned)tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
		         (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
		srv->date_second = now;
	}
	return srv->date;
}

static const char *type_or_plain(const char *type)
{
	if (!type) {
		return "text/plain; charset=utf-8";
	}
	return strlen(type) <= TYPE_MAX && is_plain(type) ? type : "application/octet-stream";
}

static bool has_no_body(int status)
{
	return status < 200 || status == 204 || status == 304;
}

static int put_head(struct ob__http_conn *c, int status, const char *type, size_t len,
                    bool keep_alive)
{
	size_t cap = HEAD_ROOM + c->headers.len;
	char *out = (char *)ob__stream_reserve(&c->stream, cap);
	if (!out) {
		return -ECANCELED;
	}
	size_t n = (size_t)snprintf(out, cap, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status,
	                            ob__http_status_text(status), date_line(c->srv));
	if (!has_no_body(status)) {
		n += (size_t)snprintf(out + n, cap - n,
		                      "Content-Type: %s\r\nContent-Length: %zu\r\n",
		                      type_or_plain(type), len);
	}
	if (status == 426) {
		n += (size_t)snprintf(out + n, cap - n, "Upgrade: websocket\r\n%s",
		                      keep_alive ? "Connection: Upgrade\r\n"
		                                 : "Connection: Upgrade, close\r\n");
	} else if (!keep_alive) {
		n += (size_t)snprintf(out + n, cap - n, "Connection: close\r\n");
	} else if (!c->parse.http11) {
		n += (size_t)snprintf(out + n, cap - n, "Connection: keep-alive\r\n");
	}
	if (c->headers.len > 0) {
		memcpy(out + n, c->headers.data, c->headers.len);
		n += c->headers.len;
	}
	memcpy(out + n, "\r\n", 2);
	ob__stream_commit(&c->stream, n + 2);
	return 0;
}

/* The head and the body of an answer; on failure the connection is closed. */
static void put_answer(struct ob__http_conn *c, int status, const char *type, const void *body,
                       size_t len, bool keep_alive)
{
	bool head_only = c->parse.method && strcmp(c->parse.method, "HEAD") == 0;
	int rc = put_head(c, status, type, len, keep_alive);
	if (rc == 0 && len > 0 && !head_only && !has_no_body(status)) {
		rc = ob__stream_append(&c->stream, body, len);
	}
	ob__buf_free(&c->headers);
	if (rc < 0) {
		ob__stream_close(&c->stream);
	}
}

void ob__http_answer(struct ob__http_conn *c, int status, const char *type, const void *body,
                     size_t len)
{
	bool keep_alive = c->parse.keep_alive && !c->srv->freed;
	put_answer(c, status, type, body, len, keep_alive);
	ob__http_answered(c, keep_alive);
}

void ob__http_refuse(struct ob__http_conn *c, int status, const char *reason)
{
	char text[160];
	int len = snprintf(text, sizeof(text), "%s\n", reason);
	if (status == 426) {
		ob__buf_printf(&c->headers, "Sec-WebSocket-Version: 13\r\n");
	}
	if (c->srv->options.on_refused && !c->srv->freed) {
		c->srv->options.on_refused(status, c->srv->options.arg);
	}
	put_answer(c, status, NULL, text, (size_t)len, false);
	ob__stream_close_flushed(&c->stream, OB__HTTP_REFUSE_MS);
}

int ob__http_reply(struct ob__http_server *srv, uint64_t handle, int status, const char *type,
                   const void *body, size_t len)
{
	struct ob__http_waiting *w = ob__http_find(srv, handle);
	if (!w) {
		return -ESTALE;
	}
	ob__http_answer(w->conn, status >= 200 && status <= 599 ? status : 500, type, body, len);
	return 0;
}

int ob__http_upgrade(struct ob__http_server *srv, uint64_t handle, struct ob__stream *into)
{
	struct ob__http_waiting *w = ob__http_find(srv, handle);
	if (!w) {
		return -ESTALE;
	}
	struct ob__http_conn *c = w->conn;
	if (!c->handshake) {
		return -EINVAL;
	}
	static const char head[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
				   "Connection: Upgrade\r\nSec-WebSocket-Accept: ";
	/* Before the socket has moved everything can still be undone. */
	if (c->in_len > 0) {
		int rc = ob__stream_unread(&c->stream, c->in, c->in_len);
		if (rc < 0) {
			return rc;
		}
		c->in_len = 0;
	}
	int rc = ob__stream_adopt(into, &c->stream);
	if (rc < 0) {
		return rc;
	}
	if (ob__stream_append(into, head, sizeof(head) - 1) < 0 ||
	    ob__stream_append(into, c->accept, OB__HTTP_ACCEPT_LEN) < 0 ||
	    ob__stream_append(into, "\r\n", 2) < 0 ||
	    ob__stream_append(into, c->headers.data, c->headers.len) < 0 ||
	    ob__stream_append(into, "\r\n", 2) < 0) {
		ob__stream_close(into);
	}
	ob__slab_free(&srv->waiting, w);
	c->waiting = NULL;
	return 0;
}
