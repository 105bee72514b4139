/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Tests only.  Whole nodes in the process of the test, on its one thread: each is started from a
 * configuration written into a directory of the test's own, and whatever waits turns the loops of
 * all that run, up to a deadline.  On the other side stand plain sockets: clients with and without
 * WebSocket, HTTP, the administration's socket.
 *
 * In configurations and expected JSON a ' stands for a ".  RIG_LOG=1 in the environment shows the
 * nodes' logs on stderr.
 */

#ifndef OB__NODE_RIG_H
#define OB__NODE_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <obhost/obhost.h>

#include "base/loop.h"
#include "host/node.h"
#include "modules/puppet.h"

#define RIG_PATIENCE_MS 20000u
#define RIG_TOKEN       "a token of some length"
#define RIG_NODES       5

struct rig_node {
	struct ob__node *node;
	char name[64];
	char conf_path[512];
	int port; /* of the first client listener */
	int http_port;
	int rpc_port;
	bool frozen;
};

/* The directory of the test: DIR/mods is looked in first for modules, DIR/state holds state. */
extern char rig_dir[128];

void rig_begin(void); /* aborts when it can't */

/* Frees the nodes that still run; what a node should have removed and did not is a failure. */
void rig_end(void);

/* A loopback port that is free now and that no other test takes. */
int rig_port(void);

/* Writes the configuration: name, type, directories, then `fmt`, more members of the object. */
void rig_write_conf(struct rig_node *n, const char *name, const char *type, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Writes it and starts the node, which must succeed. */
void rig_start(struct rig_node *n, const char *name, const char *type, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Starts from the configuration that is there.  NULL: refused, with the exit code. */
struct ob__node *rig_start_conf(struct rig_node *n, int *exit_code);

/* Stops as a signal would, waits for the end, frees. */
void rig_stop(struct rig_node *n);

/* Frees without a word to anyone, as a crash looks to the others. */
void rig_kill(struct rig_node *n);

/* A frozen node's loop is not turned: to the others it is slow beyond measure. */
void rig_freeze(struct rig_node *n, bool frozen);

/* One turn of every running node. */
void rig_turn(void);
void rig_turn_ms(uint64_t ms);

/* Turns until `condition`; true if it came. */
#define RIG_UNTIL(condition)                                                            \
	({                                                                              \
		uint64_t rig_end_ = ob__loop_hrtime_us() + RIG_PATIENCE_MS * 1000u;     \
		bool rig_came_;                                                         \
		while (!(rig_came_ = (condition)) && ob__loop_hrtime_us() < rig_end_) { \
			rig_turn();                                                     \
		}                                                                       \
		rig_came_;                                                              \
	})

/* Copies a test module's file to DIR/mods/NAME.so, replacing what is there. */
void rig_install(const char *built, const char *name);
void rig_module_path(const char *built, char *out, size_t cap);

/* The text of the node's log so far (files in DIR/log); to be freed. */
char *rig_log(const char *name);
bool rig_logged(const char *name, const char *text);

/* Value of a line of the metrics page, -1 if absent; `series` with labels as shown. */
double rig_metric(struct rig_node *n, const char *series);

/* ---- clients ---- */

struct rig_client {
	int fd;
	bool ws;
	bool eof;
	bool close_seen;
	uint16_t close_code;
	char close_reason[128];
	uint32_t pings;
	uint32_t pongs;
	uint8_t *in; /* raw bytes from the socket */
	size_t in_len;
	uint8_t *packets; /* bytes of the packet stream */
	size_t packets_len;
	uint32_t id; /* of the packet received last */
	char *body;  /* its payload, terminated */
	size_t body_len;
};

/* Connects with TCP, and with a WebSocket handshake when `ws`. */
void rig_connect(struct rig_client *c, int port, bool ws);
void rig_connect_unix(struct rig_client *c, const char *path);

/* As rig_connect() for WebSocket, but returns the status line's number, 101 when it worked. */
int rig_handshake(struct rig_client *c, int port);
void rig_disconnect(struct rig_client *c);

/* Somebody listens there. */
bool rig_can_connect(int port);
void rig_reset(struct rig_client *c);

/* A packet of the obespoir codec, as one binary message. */
void rig_send(struct rig_client *c, uint32_t id, const char *body);
void rig_send_bytes(struct rig_client *c, uint32_t id, const void *body, size_t len);

/* A WebSocket frame, masked: opcode with FIN in bit 7. */
void rig_send_frame(struct rig_client *c, uint8_t first, const void *data, size_t len);
void rig_send_raw(struct rig_client *c, const void *data, size_t len);

/* Reads what is there without waiting. */
void rig_pump(struct rig_client *c);

/* Waits for one packet; false when the connection ended or nothing came. */
bool rig_recv(struct rig_client *c);

/* The next packet has this id and, as JSON, this body. */
bool rig_expect(struct rig_client *c, uint32_t id, const char *json);

/* The next packet is a failure: {"code": code, "error": text}; text NULL: any. */
bool rig_expect_error(struct rig_client *c, uint32_t id, int code, const char *text);

/* Sends and expects the answer, in one. */
bool rig_ask(struct rig_client *c, uint32_t id, const char *body, const char *json);

/* The link from one running node to another, or NULL. */
struct ob__peer *rig_peer(struct rig_node *from, const struct rig_node *to);

/* Waits until both know each other. */
bool rig_linked(struct rig_node *a, struct rig_node *b);

/* Waits for the end of the connection: the close code, 0 if it ended without one, -1 if not. */
int rig_closed(struct rig_client *c);

/* Nothing comes within 30 ms. */
bool rig_silent(struct rig_client *c);

/* ---- HTTP and administration ---- */

/* A request with a body (may be NULL) on a connection of its own; the status, or -1.  *answer, if
 * not NULL, is the body, to be freed; headers are extra lines ending in \r\n, or NULL. */
int rig_http(int port, const char *method, const char *path, const char *headers, const char *body,
             char **answer);

/* The same in two steps: the socket, and later its answer (-1 while there is none). */
int rig_http_begin(int port, const char *method, const char *path, const char *headers,
                   const char *body);
int rig_http_end(int fd, char **answer);

/* Runs a verb and waits for its answer: the status; *body a new reference (text as a string). */
int rig_admin(struct rig_node *n, const char *verb, const char *args, json_t **body);

/* The same; the body must match `expected`, where members that it leaves out may be anything. */
bool rig_admin_expect(struct rig_node *n, const char *verb, const char *args, int status,
                      const char *expected);

/* Every member and item of `part` is in `whole` with the same value. */
bool rig_json_has(const json_t *whole, const json_t *part);
json_t *rig_json(const char *text);

#endif
