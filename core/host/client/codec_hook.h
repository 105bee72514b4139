/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What a codec may do besides decode and encode.
 *
 * A codec can fill in the state of a connection that begins (open), write the last bytes for one
 * that is being closed (close), ask for a call after some time (wake) and look at what a listener
 * is configured with (conf_check).  All of it is optional, and of no cost for messages.  A hook
 * that breaks its contract costs the client its connection, never the node.
 */

#ifndef OB__CODEC_HOOK_H
#define OB__CODEC_HOOK_H

#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "host/conf/nodeconf.h"
#include "host/slot.h"

struct ob__conn;
struct ob__node;

/* kind_words of codecs, for metrics: kept, so that they can be compared by address. */
struct ob__codec_words {
	char *words[OB_CODEC_WORDS_MAX];
	size_t len;
};

/* Lets the codec fill in a state of the connection, and say its times.  0, or negative: it has
 * refused. */
int ob__codec_fill(struct ob__conn *conn, const ob_codec *codec, struct ob__gen *gen, void *state);

/* A connection's socket is there: the codec begins with it, in the version that is active now.
 * 0, OB_E_NOT_FOUND without a codec, OB_E_NOMEM, or what open answered. */
int ob__codec_open(struct ob__conn *conn);

/* What the codec has to say to a client that is being closed, at most `cap` bytes of which the
 * codec is told.  *failed: it broke its contract, nothing of that goes out. */
size_t ob__codec_last_words(struct ob__conn *conn, uint16_t code, const char *reason, uint8_t *out,
                            size_t cap, bool *failed);

/* The word under which a violation is counted: the codec's, copied, else `otherwise`. */
const char *ob__codec_word(struct ob__node *node, const char *word, const char *otherwise);
void ob__codec_words_free(struct ob__codec_words *w);

/* A listener may be configured so with this codec: 0, or negative with a sentence in err. */
int ob__codec_conf_check(struct ob__gen *gen, const ob_codec *codec,
                         const struct ob__listen_conf *conf, char *err, size_t cap);

/* The same for every listener that has the codec; the reason is left in gen->refused. */
int ob__codec_conf_check_all(struct ob__gen *gen, const ob_codec *codec);

#endif
