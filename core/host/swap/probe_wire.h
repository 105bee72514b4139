/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What the two ends of a rehearsal say to each other.
 *
 * One socket, the child's descriptor 3.  Frames: u32 length of what follows, u8 kind, bytes.  The
 * host sends TASK (JSON) and, if the task says so, STATE (a blob); the child sends PHASE (a word)
 * whenever it enters one, and REPORT (JSON) at the end.  Both are of one build: there is no
 * version.
 */

#ifndef OB__PROBE_WIRE_H
#define OB__PROBE_WIRE_H

#define OB__PROBE_FD         3
#define OB__PROBE_FRAME_MAX  (128u << 20) /* of a state */
#define OB__PROBE_TASK_MAX   (16u << 20)
#define OB__PROBE_REPORT_MAX (64u << 10)
#define OB__PROBE_PHASE_MAX  32u

enum ob__probe_frame {
	OB__PROBE_TASK = 'T',
	OB__PROBE_STATE = 'S',
	OB__PROBE_PHASE = 'P',
	OB__PROBE_REPORT = 'R',
};

#endif
