/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Link transports: modules that make sockets for links.
 *
 * TCP and unix sockets are built in.  A module offers others by name (ob_on_transport): it is asked
 * for a socket that is connected to an address, or bound to one, and has nothing more to do with
 * it.  So links and listening sockets stay what they are when the module is replaced or taken out;
 * what is to be dialled by it waits then (mesh/remote.c).
 *
 * A name that no module of the node has ever offered is a mistake, and refused; one whose module is
 * not there any more is not.  What the node listens on is told to others in its record, so that
 * those which have the transport dial it.
 */

#ifndef OB__TRANSPORT_H
#define OB__TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <obhost/obhost.h>

#include "base/conf.h"
#include "base/log.h"
#include "mesh/link.h"
#include "mesh/member.h"

struct ob__node;
struct ob__nodeconf;

/* One entry of rpc.listen. */
struct ob__transport_door {
	struct ob__node *node;
	struct ob__listener *listener;
	char name[OB__TRANSPORT_NAME + OB__TRANSPORT_ADDRESS]; /* "NAME:ADDRESS" */
	char told[OB__MEMBER_ADDRESS];                         /* as it is in the member's record */
};

struct ob__transports {
	struct ob__transport_door *doors;
	size_t doors_len;
	struct ob__log_limit limit;
};

/* What a module offers is complete. */
bool ob__transport_ok(const ob_transport *transport);

bool ob__transport_built_in(const char *name);

/* A text that may be an address: printable ASCII that is not too long. */
bool ob__transport_address_ok(const char *address);

/* Lets links ask; before anything is dialled. */
void ob__transports_init(struct ob__node *node);

/* The name is known and, as far as the transport is there to say so, the address one of its. 0; or
 * OB_E_NOT_FOUND or OB_E_INVAL with a sentence in err. */
int ob__transport_check(struct ob__node *node, const struct ob__transport_way *way, char *err,
                        size_t err_cap);

/* The same for all that `c` names: in `report`, with their place. How many are wrong. */
int ob__transports_check(struct ob__node *node, const struct ob__nodeconf *c,
                         ob__conf_report report, void *arg);

/* As far as can be said without a node: names[0..n) are what its modules offer. */
int ob__transports_check_names(const struct ob__nodeconf *c, const char *const *names, size_t n,
                               ob__conf_report report, void *arg);

/* Names anything that is not built in. */
bool ob__transports_used(const struct ob__nodeconf *c);

/* Binds what rpc.listen says. 0, or negative with a line logged. */
int ob__transports_listen(struct ob__node *node);

/* Accepts from now on. 0 or negative. */
int ob__transports_accept(struct ob__node *node);

void ob__transports_free(struct ob__node *node);

/* In the turn of a switch: what waits for a transport is dialled. */
void ob__transports_switched(struct ob__node *node);

/* {"abstract": {"built_in": false, "module": "transport_abstract", "listening": ["@x"]}}, module
 * null: it is built in, or nobody offers it; new reference. */
json_t *ob__transports_json(const struct ob__node *node);

#endif
