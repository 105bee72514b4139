/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to lib/frame.  Where the fields of a frame's header are; lib/many changes some in place.
 */

#ifndef OB__FRAME_PRIV_H
#define OB__FRAME_PRIV_H

#include "lib/frame.h"
#include "lib/le.h"

enum {
	OFF_LEN = 0,
	OFF_VERSION = 4,
	OFF_FLAGS = 6,
	OFF_ID = 8,
	OFF_BUDGET = 12,
	OFF_CALL = 16,
	OFF_SRC = 24,
	OFF_DST = OB__FRAME_OFF_DST,
	OFF_SESSION_NODE = 40,
	OFF_SESSION_SEQ = 48,
	OFF_ROLE = 56,
	OFF_HOPS = 60,
	OFF_STATUS = 61,
	OFF_EXT_LEN = 62,
};

#endif
