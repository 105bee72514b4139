/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Tests only. Turns the CUnit registry into TAP, the format that `make check` reads.
 *
 * A test program fills the registry and returns ob__tap_run(). The plan comes first, each test is
 * a line "ok N - suite: case", and below a failed one stand its assertions as
 * "# file:line: condition".
 */

#ifndef OB__TAP_H
#define OB__TAP_H

/* Runs every suite of the registry, prints TAP on stdout and frees the registry. A test that takes
 * longer than five minutes is killed by SIGALRM.
 *
 * Returns the exit status for main: 0 also when tests failed, as the lines say so; 1 when the
 * result can't be trusted (no registry, no tests, a suite's clean-up failed).
 */
int ob__tap_run(void);

#endif
