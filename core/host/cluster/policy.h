/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Policies: modules that choose the node of a role.
 *
 * The configuration names a policy for a role (rpc.policy) or a range of message ids
 * (rpc.policy_range): one that is built in (mesh/balance.h), or one that a module offers by name
 * (ob_on_policy).  For the latter the role or range points at the policy's slot, so either may come
 * first, and a new generation chooses from the switch on.  While
 * nobody offers it, and for a choice that makes no sense, the router chooses as it would without.
 */

#ifndef OB__POLICY_H
#define OB__POLICY_H

#include <jansson.h>
#include <obhost/obhost.h>

#include "mesh/router.h"

struct ob__node;
struct ob__nodeconf;

/* Lets the router ask; before anything is routed. */
void ob__policy_init(struct ob__node *node);

/* Makes the roles and slots that c's rpc.policy and rpc.policy_range name. 0, or a negative code
 * and the role, or a range's policy, that it can't take in *what. */
int ob__policy_prepare(struct ob__node *node, const struct ob__nodeconf *c, const char **what);

/* What was prepared counts from now on. */
void ob__policy_apply(struct ob__node *node, const struct ob__nodeconf *c);

/* An attribute of the session whose message is being placed; NULL if it is not known, or `choice`
 * is none of now. */
const void *ob__policy_attr(const struct ob__node *node, const ob_choice *choice, const char *key,
                            size_t *len);

/* Warns of those that nobody offers. */
void ob__policy_check(const struct ob__node *node);

/* {"service": {"policy": "least_busy", "built_in": false, "module": "balance"}}, module null: it is
 * built in, or nobody offers it; new reference. */
json_t *ob__policy_json(const struct ob__node *node);

/* [{"low": 6000, "high": 6999, and as above}] */
json_t *ob__policy_ranges_json(const struct ob__node *node);

#endif
