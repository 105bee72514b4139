/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What the two ends of a rehearsal say to each other.
 *
 * One socket, the child's descriptor 3.  Frames: u32 length of what follows, u8 kind, bytes.  The
 * host sends TASK (JSON) and, if the task says so, STATE (a blob); the child sends PHASE (a word)
 * whenever it enters one, and REPORT (JSON) at the end.
 *
 * There is no version, as both are of one build.  obhost itself, when it is the child, is that by
 * its nature; obhost-probe, a file of its own, compares the task's "build" with its own first. What
 * it is not made for it reports as ELSEWHERE (a text: why), before any code of the module has run,
 * and if it is of another build, as STRANGER (its build).
 */

#ifndef OB__PROBE_WIRE_H
#define OB__PROBE_WIRE_H

/* What must be the same; the number counts the changes of what is said here. */
#define OB__PROBE_TEXT(x)  #x
#define OB__PROBE_TEXTS(x) OB__PROBE_TEXT(x)
#define OB__PROBE_BUILD                                                             \
	PACKAGE_VERSION ", ABI " OB__PROBE_TEXTS(OB_ABI_MAJOR) "." OB__PROBE_TEXTS( \
		OB_ABI_MINOR) ", sanitizer " OB__PROBE_TEXTS(OB_SANITIZER) ", wire 2"

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
	OB__PROBE_ELSEWHERE = 'E',
	OB__PROBE_STRANGER = 'X',
};

#endif
