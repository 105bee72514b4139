/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What a node's configuration file means.
 *
 * The schema is one table (ob__nodeconf_rows) from which the file is checked and the reference in
 * docs/configuration.md is written.  This file turns a checked tree into typed structs, fills in
 * what follows from other keys (the default modules, the listener that `websocket` is short for),
 * and refuses what makes no sense together or is not built.  The obespoir demo files load
 * unchanged.
 */

#ifndef OB__NODECONF_H
#define OB__NODECONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/conf.h"
#include "host/session/resume.h"
#include "lib/idrange.h"
#include "lib/ip.h"
#include "mesh/link.h"
#include "mesh/member.h"
#include "mesh/registry.h"
#include "mesh/userwire.h"

#define OB__OFFLINE_ID 999u /* the seed's name for a closed client; reserved */

#define OB__HANDSHAKE_MS 10000u
#define OB__PACKET_MS    30000u
#define OB__SEND_MS      60000u

/* How many messages a client may send. */
struct ob__listen_rate {
	uint32_t per_second; /* 0: any number */
	uint32_t burst;
};

/* What a transport for clients is made of. */
enum ob__listen_kind {
	OB__LISTEN_RAW = 1u << 0, /* packets of the codec */
	OB__LISTEN_WS = 1u << 1,  /* WebSocket; with RAW: the first bytes tell */
	OB__LISTEN_TLS = 1u << 2, /* below either */
	OB__LISTEN_UNIX = 1u << 3,
	OB__LISTEN_MODULE = 1u << 4, /* with RAW: a module brings the clients */
};

/* The strings are owned: a listener keeps what it was bound with over a reload. */
struct ob__listen_conf {
	char *transport;
	uint8_t kind; /* of it, enum ob__listen_kind */
	char *codec;
	char *host;
	char *path; /* unix */
	int port;
	bool reuseport;
	uint64_t timeout_ms; /* 0: none */
	char *tls_cert;      /* or NULL, as those below */
	char *tls_key;
	char *tls_ca;
	char *tls_ciphers;
	struct ob__cidr *trusted; /* who speaks for others, by the PROXY protocol */
	size_t trusted_len;
	bool trusts_unix;
	bool deflate; /* WebSocket messages may be compressed */
	uint8_t deflate_level;
	size_t deflate_min;    /* shorter ones are not */
	size_t deflate_memory; /* 0: any */
	json_t *origins;       /* a list, or NULL: any */
	uint64_t handshake_ms;
	uint64_t packet_ms;   /* for one that has begun; 0: any */
	uint64_t first_ms;    /* for a client's first message; 0: any */
	uint64_t send_ms;     /* for some of what is queued to be taken; 0: any */
	size_t message;       /* bytes; 0: limits.message */
	uint32_t connections; /* these two 0: any */
	uint32_t per_address;
	bool close_excess;           /* whoever sends more than: */
	struct ob__listen_rate rate; /* of all messages */
	struct ob__listen_rate *rates;
	size_t rates_len;
	struct ob__idrange per_id; /* an index into rates */
	struct ob__idrange no_state;
	char *token; /* NULL: none */
	uint32_t encode;
	json_t *codec_conf; /* owned reference to an object, or NULL */
	const char *where;  /* static: path in the file, for messages */
};

struct ob__module_conf {
	char *name;
	char *path;   /* owned; NULL: look in the module directories */
	json_t *conf; /* owned reference to an object, never NULL */
	bool admin;
	bool implied; /* not written in the file */
};

/* The strings of a link's protection; see mesh/link.h. */
struct ob__security_conf {
	enum ob__link_security mode;
	struct ob__link_files files;
};

/* One address of rpc.listen. */
struct ob__rpc_listen_conf {
	struct ob__transport_way way;
	const char *told; /* the address that others dial */
};

struct ob__remote_conf {
	struct ob__transport_way way; /* transport NULL: one that is built in */
	char *host_text;              /* owned: what host points at, or NULL */
	const char *host;             /* NULL: there is a path or a way */
	int port;
	const char *path;
	const char *role;
	const char *token; /* its own, or NULL */
	struct ob__security_conf security;
};

/* What becomes of a client that does not read what is pushed to it. */
enum ob__slow {
	OB__SLOW_CLOSE,
	OB__SLOW_DROP,     /* pushes to it are dropped while it is slow */
	OB__SLOW_OLDEST,   /* the oldest of them are */
	OB__SLOW_CONFLATE, /* the newest of each id is kept */
};

struct ob__limits {
	uint32_t connections;
	uint32_t sessions;    /* records, other nodes' sessions included */
	uint32_t requests;    /* waiting for an end, whole node */
	uint32_t in_flight;   /* of one client, then reading it pauses */
	size_t message;       /* bytes of one client message or HTTP body */
	size_t client_queue;  /* bytes towards one client, then it is closed */
	uint8_t slow;         /* enum ob__slow */
	uint32_t link_frames; /* taken from one node in a second; 0: any */
	size_t link_bytes;    /* the same in bytes */
	size_t link_queue;    /* bytes towards one node, then BUSY */
	size_t held;          /* bytes waiting for a live node */
	uint32_t keys;        /* requests with an idempotency key that are remembered */
	size_t keys_bytes;    /* theirs and of their answers */
	uint32_t users;       /* whose whereabouts this node keeps */

	uint32_t groups;        /* that clients of this node are in */
	uint32_t group_members; /* groups that one client is in */
};

/* The filters for clients' messages that are built in. */
struct ob__filters_conf {
	bool time;
	uint64_t slow_ms;
	uint64_t too_busy_ms;  /* 0: never */
	uint32_t serial_queue; /* 0: no such filter */
	uint64_t serial_wait_ms;
	struct ob__idrange timeouts; /* ms */
};

struct ob__state_ids {
	uint32_t lo;
	uint32_t hi;
};

/* A state of sessions. */
struct ob__state_conf {
	const char *name;
	bool closes; /* whoever sends what is not allowed */
	struct ob__state_ids *ids;
	size_t ids_len;
};

/* What becomes of a message that is to stay with a node that is gone. */
enum ob__sticky_lost {
	OB__LOST_MOVE, /* another node is chosen */
	OB__LOST_FAIL, /* it fails at once */
	OB__LOST_WAIT, /* it waits for a while, then the session ends */
	OB__LOST_OFF,  /* it need not stay in the first place */
};

#define OB__STICKY_BY_USER 4u /* added to it in a table: placed by the user, not the session */

/* How modules are replaced. */
struct ob__reload_conf {
	uint64_t drain_ms;
	uint64_t probation_ms; /* 0: none */
	uint64_t probe_ms;     /* 0: no rehearsal */
	uint64_t budget_ms;    /* for handing over state; 0: any */
	uint64_t stall_ms;     /* 0: no limit */
	unsigned errors_percent;
	double rate; /* transactions a second from outside; 0: any number */
};

struct ob__nodeconf {
	struct ob__conf *file;
	const json_t *root;
	char *path; /* of the file */
	const char *name;
	const char *role;
	const char *host;
	uint64_t call_timeout_ms;
	struct ob__reload_conf reload;
	struct ob__resume_conf resume;
	const char *probe_exe;     /* static: the program that rehearses modules; NULL: none does */
	const char *probe_program; /* static: obhost-probe, quicker for most; NULL: no such one */
	uint32_t session_closed_id;
	uint32_t kick_id;    /* 0: none */
	const json_t *names; /* of messages: name to id; or NULL */
	uint64_t bind_timeout_ms;
	uint64_t home_ms;                 /* where a user was served is kept after his session */
	const char *carry[OB__CARRY_MAX]; /* keys of attributes that go along with messages */
	size_t carry_len;
	struct ob__filters_conf filters;
	struct ob__state_conf *states; /* the first one is where sessions begin */
	size_t states_len;
	struct ob__listen_conf *listens;
	size_t listens_len;
	int http_port;
	const char *http_token; /* NULL: none (or the seed's demo token on a loopback bind) */
	int admin_port;
	const char *admin_unix;
	int rpc_port;
	const char *rpc_token;
	struct ob__role_token *rpc_tokens;
	size_t rpc_tokens_len;
	struct ob__security_conf rpc_security;
	uint64_t reconnect_ms;
	struct ob__idrange policy_range; /* an index into: */
	struct ob__chooser *choosers;    /* of rpc.policy_range, filled in when it counts */
	size_t choosers_len;
	struct ob__idrange sticky; /* enum ob__sticky_lost, perhaps with BY_USER */
	bool sticky_by_user;       /* any of them has */
	uint64_t sticky_wait_ms;
	bool rpc_unix;           /* a socket for links in the state directory */
	const char *rpc_address; /* where others reach the port; NULL: that can't be said */
	int rpc_address_port;
	char *rpc_host_text;   /* owned: what rpc_address points at, or NULL */
	uint64_t link_idle_ms; /* 0: a link stays */
	uint32_t weight;
	struct ob__member_range *serve;
	size_t serve_len;
	uint64_t key_ms;       /* how long the end of a request with a key is kept */
	uint64_t too_busy_ms;  /* of a turn; 0: never */
	uint64_t call_slow_ms; /* calls that took longer are logged; 0: none */
	bool call_log_failed;
	struct ob__rpc_listen_conf *rpc_listens;
	size_t rpc_listens_len;
	struct ob__remote_conf *remotes;
	size_t remotes_len;
	struct ob__module_conf *modules;
	size_t modules_len;
	const char **module_dirs;
	size_t module_dirs_len;
	const char *state_dir; /* NULL: chosen by the node */
	const char *pid;
	const char *user;
	int log_level;
	const char *log_dir;
	bool log_stderr;
	size_t log_ring;
	struct ob__limits limits;
};

extern const struct ob__conf_row ob__nodeconf_rows[];

/* Reads, checks and types a file; `extra` are module names or paths to add (from the command line).
 * NULL after at least one reported error. */
struct ob__nodeconf *ob__nodeconf_load(const char *path, const char *const *extra, size_t extra_len,
                                       ob__conf_report report, void *arg);

/* As above for the file `path`, but its text is that of `kept`, a copy that lies elsewhere. */
struct ob__nodeconf *ob__nodeconf_load_kept(const char *path, const char *kept,
                                            const char *const *extra, size_t extra_len,
                                            ob__conf_report report, void *arg);
void ob__nodeconf_free(struct ob__nodeconf *c);

/* The route table of the file: role words are made known through `role_id(arg, word)`, which
 * returns 0 for a word it can't take.  Sealed, owned by the caller; NULL after a report. */
struct ob__idrange *ob__nodeconf_routes(const struct ob__nodeconf *c,
                                        uint32_t (*role_id)(void *arg, const char *word),
                                        const char *(*role_word)(void *arg, uint32_t id),
                                        void *id_arg, ob__conf_report report, void *arg);

/* ---- nodeconf_listen.c: a listener's parts ---- */

/* Of a transport's name; 0: none that is built in. */
uint8_t ob__listen_kind(const char *transport);

/* The name of what a client of such a listener came by. */
const char *ob__listen_transport(uint8_t kind, bool is_ws);

/* Tells what is wrong with a key of the entry. */
typedef void (*ob__listen_wrong)(void *arg, const char *key, const char *text);

/* Fills in all but what websocket and listen had from the beginning. */
void ob__listen_conf_read(struct ob__listen_conf *l, const json_t *item, ob__listen_wrong wrong,
                          void *arg);
void ob__listen_conf_free(struct ob__listen_conf *l);

/* The same for a listener that is not configured. 0 or OB_E_NOMEM. */
int ob__listen_conf_init(struct ob__listen_conf *l);

/* A page of that origin may open connections; NULL: no page has. */
bool ob__listen_conf_origin_ok(const struct ob__listen_conf *l, const char *origin);

/* A context of its certificates; NULL with a sentence that names the file. */
struct ob__tls_ctx *ob__listen_conf_tls(const struct ob__listen_conf *l, char *err, size_t cap);

/* The host is one that only this machine reaches. */
bool ob__host_is_loopback(const char *host);

#endif
