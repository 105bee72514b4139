/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F1.  What the process tells the service manager that started it.
 *
 * The protocol of sd_notify(3): a manager that wants to know puts the address of a datagram socket
 * in $NOTIFY_SOCKET; each datagram is lines of KEY=VALUE.  With $WATCHDOG_USEC it also wants a sign
 * of life in that time, and gets one twice as often, from the loop's own timer: a loop that hangs
 * gives none.  Without a manager every call here does nothing.
 */

#ifndef OB__NOTIFY_H
#define OB__NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/loop.h"

enum ob__notify_state {
	OB__NOTIFY_SAME, /* as before; only the text is new */
	OB__NOTIFY_READY,
	OB__NOTIFY_RELOADING, /* until the next READY */
	OB__NOTIFY_STOPPING,
};

/* Zeroed: there is no manager. */
struct ob__notify {
	struct ob__loop *loop; /* borrowed; of the signs of life */
	struct ob__timeout ping;
	uint64_t ping_ms; /* 0: none are wanted */
	int fd;           /* valid with addr_len */
	socklen_t addr_len;
	struct sockaddr_un addr;
};

/* Takes the manager's variables out of the environment, so that no child takes itself for the
 * service; to be called while there is one thread.  0, also without a manager; negative when there
 * is one that can't be reached (then `n` is as zeroed). */
int ob__notify_open(struct ob__notify *n);

/* From now on signs of life go out as often as the manager wants them, by a timeout of the loop. */
void ob__notify_watch(struct ob__notify *n, struct ob__loop *loop);

/* Sends the state and a line of text, which is cut at 200 bytes; control characters in it become
 * blanks.  Waits at most 200 ms for a manager that does not read.  0 or negative. */
int ob__notify_send(struct ob__notify *n, enum ob__notify_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Ends the signs of life, before the loop is freed. Zeroed ones are accepted. */
void ob__notify_close(struct ob__notify *n);

#endif
