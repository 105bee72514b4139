/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example chat: chat rooms, and the page to see them with.
 *
 * A room is a group, so who is in it, on which node, and that a client who leaves is taken out is
 * the host's business.  A client's name and room are attributes of its session, what was said is in
 * the module's key-value store: nothing is kept here, and the module can be replaced between any
 * two messages.
 *
 *     chat.enter  {"name", "room"}   the people, the last messages, and which code answers
 *     chat.say    {"text"}
 *
 * and pushes: chat.said, chat.came, chat.went, and chat.code when a new generation takes over.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <obhost/obhost.h>

#define VERSION   "1.0.0"
#define GROUPS    "chat/" /* in front of a room's name */
#define NAME_MAX  48u
#define TEXT_MAX  2000u
#define HISTORY   50u
#define PEOPLE    500
#define FILE_MOST (1024 * 1024)

/* The files of the page, read when the module starts. */
static struct page {
	const char *path;
	const char *type;
	const char *name; /* NULL: the client's file */
	char *data;
	size_t len;
} pages[] = {
	{"/", "text/html; charset=utf-8", "index.html", NULL, 0},
	{"/chat.css", "text/css; charset=utf-8", "chat.css", NULL, 0},
	{"/chat.js", "text/javascript; charset=utf-8", "chat.js", NULL, 0},
	{"/obhost.js", "text/javascript; charset=utf-8", NULL, NULL, 0},
};
#define PAGES (sizeof(pages) / sizeof(pages[0]))

/* What the page is told of where to connect. */
static int port;
static char url[256];

/* ---- words ---- */

/* A name or room: something, not too much, and nothing that can't be seen. */
static bool is_word(const char *word, size_t most)
{
	size_t len = word != NULL ? strlen(word) : 0;

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)word[i] < ' ' || word[i] == 127) {
			return false;
		}
	}
	return len > 0 && len <= most;
}

/* An attribute of the session as text; "" without it. */
static const char *attr(ob_ctx *ctx, ob_session session, const char *key, char out[NAME_MAX + 1])
{
	size_t len = 0;
	const void *value = ob_session_attr(ctx, session, key, &len);

	len = value != NULL && len <= NAME_MAX ? len : 0;
	if (len > 0) {
		memcpy(out, value, len);
	}
	out[len] = '\0';
	return out;
}

static void group_of(const char *room, char out[NAME_MAX + sizeof(GROUPS)])
{
	snprintf(out, NAME_MAX + sizeof(GROUPS), GROUPS "%s", room);
}

static void push_room(ob_ctx *ctx, const char *room, const char *name, json_t *body_stolen)
{
	char group[NAME_MAX + sizeof(GROUPS)];
	char *text = body_stolen != NULL ? json_dumps(body_stolen, JSON_COMPACT) : NULL;

	group_of(room, group);
	if (text != NULL) {
		(void)ob_push_group_name(ctx, group, name, text, strlen(text));
	}
	free(text);
	json_decref(body_stolen);
}

static json_t *this_code(ob_ctx *ctx)
{
	ob_module_info info = {.size = sizeof(info)};

	(void)ob_module_get(ctx, &info);
	return json_pack("{s:s, s:I}", "version", VERSION, "generation",
	                 (json_int_t)info.generation);
}

/* ---- who is there ---- */

/* The names in a room; *taken: one of them is `name`, and not `but`'s. */
static json_t *people_of(ob_ctx *ctx, const char *room, const char *name, ob_session but,
                         bool *taken)
{
	static ob_session sessions[PEOPLE];
	char group[NAME_MAX + sizeof(GROUPS)];
	char word[NAME_MAX + 1];
	json_t *list = json_array();

	group_of(room, group);
	int count = ob_group_members(ctx, group, sessions, PEOPLE);
	for (int i = 0; i < count && i < PEOPLE; i++) {
		attr(ctx, sessions[i], "chat.name", word);
		*taken = *taken || (sessions[i] != but && strcmp(word, name) == 0);
		json_array_append_new(list, json_string(word));
	}
	return list;
}

static void tell_room(ob_ctx *ctx, const char *room, const char *what, const char *who)
{
	push_room(ctx, room, what, json_pack("{s:s, s:s}", "room", room, "who", who));
}

/* Somebody has joined or left a room, or is gone altogether.  It is heard a little later: whoever
 * has gone on to another room meanwhile has been told of by move_to(), with the name he had. */
static void on_room(ob_ctx *ctx, const ob_group_info *info)
{
	const char *room = info->group + sizeof(GROUPS) - 1;
	const char *what = info->event == OB_EVENT_GROUP_JOINED ? "chat.came" : "chat.went";
	char now[NAME_MAX + 1];
	char who[NAME_MAX + 1];

	if (strcmp(attr(ctx, info->session, "chat.room", now), room) == 0) {
		tell_room(ctx, room, what, attr(ctx, info->session, "chat.name", who));
	}
}

/* ---- what was said ---- */

/* The number of the last message; the host's memory, so the next generation goes on from there. */
static uint64_t *last_number(ob_ctx *ctx)
{
	return ob_state(ctx, "last", sizeof(uint64_t), 1);
}

static void key_of(const char *room, uint64_t number, char *out, size_t cap)
{
	snprintf(out, cap, "%s/%012llu", room, (unsigned long long)number);
}

static json_t *history_of(ob_ctx *ctx, const char *room)
{
	char from[NAME_MAX + 16];
	json_t *list = json_array();
	size_t room_len = strlen(room);
	size_t len;

	key_of(room, 0, from, sizeof(from));
	const char *key = from;
	while ((key = ob_kv_next(ctx, key)) != NULL && strncmp(key, room, room_len) == 0 &&
	       key[room_len] == '/') {
		const char *text = ob_kv_get(ctx, key, &len);
		json_array_append_new(list, json_loadb(text, len, 0, NULL));
	}
	return list;
}

/* The oldest goes when there are too many. */
static void remember(ob_ctx *ctx, const char *room, uint64_t number, const char *text)
{
	char key[NAME_MAX + 16];
	json_t *list = history_of(ctx, room);

	if (json_array_size(list) >= HISTORY) {
		json_int_t oldest =
			json_integer_value(json_object_get(json_array_get(list, 0), "n"));
		key_of(room, (uint64_t)oldest, key, sizeof(key));
		(void)ob_kv_del(ctx, key);
	}
	json_decref(list);
	key_of(room, number, key, sizeof(key));
	(void)ob_kv_set(ctx, key, text, strlen(text));
}

/* ---- requests ---- */

/* To another room, or to another name in the same one. */
static void move_to(ob_ctx *ctx, ob_session session, const char *name, const char *room)
{
	char before[NAME_MAX + 1];
	char old_name[NAME_MAX + 1];
	char group[NAME_MAX + sizeof(GROUPS)];
	bool moves = strcmp(attr(ctx, session, "chat.room", before), room) != 0;

	if (!moves && strcmp(attr(ctx, session, "chat.name", old_name), name) == 0) {
		return;
	}
	if (moves && before[0] != '\0') {
		group_of(before, group);
		(void)ob_group_leave(ctx, session, group);
	}
	if (before[0] != '\0') {
		tell_room(ctx, before, "chat.went", attr(ctx, session, "chat.name", old_name));
	}
	(void)ob_session_set(ctx, session, "chat.name", name, strlen(name));
	if (!moves) {
		tell_room(ctx, room, "chat.came", name);
		return;
	}
	(void)ob_session_set(ctx, session, "chat.room", room, strlen(room));
	group_of(room, group);
	(void)ob_group_join(ctx, session, group);
}

static void enter(ob_ctx *ctx, ob_req req)
{
	const char *name = ob_req_str(ctx, req, "name");
	const char *room = ob_req_str(ctx, req, "room");
	ob_view view = {.size = sizeof(view)};
	bool taken = false;

	if (ob_req_view(ctx, req, &view) != 0 || !is_word(name, NAME_MAX) ||
	    !is_word(room, NAME_MAX) || strchr(room, '/') != NULL) {
		ob_fail(ctx, req, OB_E_BAD, "A name and a room, please, neither too long.");
		return;
	}
	json_decref(people_of(ctx, room, name, view.session, &taken));
	if (taken) {
		ob_fail(ctx, req, OB_E_DENIED, "Somebody here has that name.");
		return;
	}
	move_to(ctx, view.session, name, room);
	json_t *answer = this_code(ctx);
	json_object_set_new(answer, "people", people_of(ctx, room, name, view.session, &taken));
	json_object_set_new(answer, "history", history_of(ctx, room));
	ob_reply_value(ctx, req, answer);
}

static void say(ob_ctx *ctx, ob_req req)
{
	const char *text = ob_req_str(ctx, req, "text");
	uint64_t *last = last_number(ctx);
	ob_view view = {.size = sizeof(view)};
	char name[NAME_MAX + 1];
	char room[NAME_MAX + 1];
	struct timespec now;

	if (ob_req_view(ctx, req, &view) != 0 || last == NULL ||
	    attr(ctx, view.session, "chat.room", room)[0] == '\0') {
		ob_fail(ctx, req, OB_E_DENIED, "Enter a room first.");
		return;
	}
	if (text == NULL || text[0] == '\0' || strlen(text) > TEXT_MAX) {
		ob_fail(ctx, req, OB_E_BAD, "Something to say, please, and not too much.");
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	json_t *message = json_pack("{s:s, s:s, s:s, s:I, s:I}", "room", room, "from",
	                            attr(ctx, view.session, "chat.name", name), "text", text, "at",
	                            (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, "n",
	                            (json_int_t)++ * last);
	char *line = message != NULL ? json_dumps(message, JSON_COMPACT) : NULL;
	if (line != NULL) {
		remember(ctx, room, *last, line);
	}
	free(line);
	push_room(ctx, room, "chat.said", message);
	ob_reply_json(ctx, req, "{s:I}", "n", (json_int_t)*last);
}

/* ---- the page ---- */

static void page(ob_ctx *ctx, ob_req req)
{
	ob_http_info info = {.size = sizeof(info)};

	if (ob_http_get(ctx, req, &info) != 0) {
		ob_fail(ctx, req, OB_E_APP, NULL);
		return;
	}
	ob_http_set_header(ctx, req, "Cache-Control", "no-cache");
	ob_http_set_header(ctx, req, "X-Content-Type-Options", "nosniff");
	for (size_t i = 0; i < PAGES; i++) {
		if (strcmp(info.path, pages[i].path) == 0) {
			ob_http_reply(ctx, req, 200, pages[i].type, pages[i].data, pages[i].len);
			return;
		}
	}
	ob_fail(ctx, req, OB_E_NOT_FOUND, "no such page");
}

static void where(ob_ctx *ctx, ob_req req)
{
	if (url[0] != '\0') {
		ob_reply_json(ctx, req, "{s:s}", "url", url);
	} else {
		ob_reply_json(ctx, req, "{s:i}", "port", port);
	}
}

static int read_page(ob_ctx *ctx, struct page *p, const char *path)
{
	FILE *file = fopen(path, "rb");
	char why[512];

	if (file != NULL && (p->data = malloc(FILE_MOST)) != NULL) {
		p->len = fread(p->data, 1, FILE_MOST, file);
	}
	bool good = file != NULL && p->data != NULL && !ferror(file) && p->len < FILE_MOST;
	if (file != NULL) {
		fclose(file);
	}
	if (good) {
		return 0;
	}
	snprintf(why, sizeof(why), "%.400s can't be read, or is too long", path);
	return ob_refuse(ctx, OB_E_INVAL, why);
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	for (size_t i = 0; i < PAGES; i++) {
		free(pages[i].data);
		pages[i].data = NULL;
	}
}

/* ---- the module ---- */

static int check(const json_t *conf, ob_err *err)
{
	static const char *const texts[] = {"page", "client"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (!json_is_string(json_object_get(conf, texts[i]))) {
			return ob_err_set(err, "%s: a path is needed", texts[i]);
		}
	}
	if (!json_is_integer(json_object_get(conf, "port")) &&
	    !json_is_string(json_object_get(conf, "url"))) {
		return ob_err_set(err, "port or url: where the page connects to");
	}
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	const char *folder = json_string_value(json_object_get(conf, "page"));
	const char *address = json_string_value(json_object_get(conf, "url"));
	int rc = 0;

	port = (int)json_integer_value(json_object_get(conf, "port"));
	snprintf(url, sizeof(url), "%s", address != NULL ? address : "");
	for (size_t i = 0; rc == 0 && i < PAGES; i++) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", folder,
		         pages[i].name != NULL ? pages[i].name : "");
		rc = read_page(ctx, &pages[i],
		               pages[i].name != NULL
		                       ? path
		                       : json_string_value(json_object_get(conf, "client")));
		rc = rc == 0 ? ob_on_http(ctx, "GET", pages[i].path, page, 0) : rc;
	}
	rc = rc == 0 ? ob_on_http(ctx, "GET", "/where.json", where, 0) : rc;
	rc = rc == 0 ? ob_on_name(ctx, "chat.enter", enter, OB_FROM_CLIENT) : rc;
	rc = rc == 0 ? ob_on_name(ctx, "chat.say", say, OB_FROM_CLIENT) : rc;
	rc = rc == 0 ? ob_on_group(ctx, GROUPS, on_room) : rc;
	rc = rc == 0 && last_number(ctx) == NULL ? OB_E_NOMEM : rc;
	if (rc != 0) {
		stop(ctx);
	}
	return rc;
}

/* Everybody is told that this code serves them now. */
static void live(ob_ctx *ctx)
{
	ob_node_info node = {.size = sizeof(node)};
	json_t *code = this_code(ctx);
	char *text = json_dumps(code, JSON_COMPACT);

	if (text != NULL && ob_node(ctx, &node) == 0) {
		(void)ob_push_all_name(ctx, ob_role(ctx, node.role), "chat.code", text,
		                       strlen(text));
	}
	free(text);
	json_decref(code);
}

OB_MODULE(chat, .version = VERSION, .check = check, .start = start, .live = live, .stop = stop);
