/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  The kinds of handle there are, one number for each slab.
 */

#ifndef OB__HANDLES_H
#define OB__HANDLES_H

enum ob__handle_kind {
	OB__KIND_PENDING = 1,
	OB__KIND_SESSION,
	OB__KIND_NOTICE,
	OB__KIND_CONN,
	OB__KIND_REQ,
	OB__KIND_TIMER,
	OB__KIND_MSG,
	OB__KIND_HTTP,
	OB__KIND_WAITER,
	OB__KIND_CALL, /* one of several tries (host/call/calls.h) */
	OB__KIND_KEY,
	OB__KIND_RESUME,
	OB__KIND_WATCH,
	OB__KIND_GATE,
};

#endif
