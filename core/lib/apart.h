/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  What stays apart from the way of most messages.
 *
 * A compiler puts a function that is called once into its caller, and every call of that pays then
 * for what it needs: registers saved, room on the stack, a guard.  Where the caller is on each
 * message's way and the function is not, OB__APART before the latter's type keeps it out.
 */

#ifndef OB__APART_H
#define OB__APART_H

#define OB__APART __attribute__((noinline))

#endif
