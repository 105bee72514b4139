/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/nodeconf.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "host/cluster/transport.h"
#include "host/message/msgname.h"
#include "host/session/states.h"
#include "mesh/dialer.h"
#include "mesh/hello.h"
#include "net/tls.h"

#define SEED_TOKEN       "helloworldiloveyou~1234567890123"
#define DEFAULT_CODEC    "obespoir"
#define SUGGEST_DISTANCE 2u

/* clang-format off */
const struct ob__conf_row ob__nodeconf_rows[] = {
	{"name", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "Name of the node, unique in the cluster: letters, digits, '.', '_', '-', at most 63."},
	{"type", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "Role of the node: proxy, route, service, or any word of yours."},
	{"host", OB__CONF_STRING, 0, 0, 0, NULL, "127.0.0.1", "Address to bind."},
	{"call_timeout", OB__CONF_SECONDS, 0, 0, 3600, NULL, "5", "Seconds until a request or call that has no answer ends with 504."},
	{"session_closed_id", OB__CONF_INT, 0, 1, 2147483647, NULL, "100130", "Message id of the handler that hears, one-way, of closed sessions; reserved from clients, as 999 is."},
	{"state_dir", OB__CONF_STRING, 0, 0, 0, NULL, "see text", "Where the node keeps its staged modules, incarnation, lock and admin socket: $STATE_DIRECTORY, else /var/lib/obhost if writable, else $XDG_CACHE_HOME/obhost."},
	{"pid", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "File to write the process id to, besides STATE_DIR/NAME/lock."},
	{"user", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "User to become after the ports are bound, when started as root."},
	{"modules", OB__CONF_LIST, 0, 0, 0, NULL, "see text", "Modules to load, in order. Absent: proxy if there is a client listener, route if the type is route, else service; http_admin if there is an http or admin port. A listener's codec_NAME is added if it is missing."},
	{"modules[]", OB__CONF_OBJECT, OB__CONF_STRING_OK, 0, 0, NULL, NULL, "A name, or an object."},
	{"modules[].name", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "Name of the module; NAME.so is looked for in module_dirs and the installed directories."},
	{"modules[].path", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "The file itself, instead of looking for it."},
	{"modules[].conf", OB__CONF_ANY, 0, 0, 0, NULL, "{}", "The module's own configuration."},
	{"modules[].admin", OB__CONF_BOOL, 0, 0, 0, NULL, "false", "The module may use administrative verbs and paths."},
	{"module_dirs", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Directories to look in for modules before the installed ones."},
	{"module_dirs[]", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "A directory."},
	{"websocket", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "A WebSocket listener for clients of the obespoir protocol; short for one entry of listen."},
	{"websocket.port", OB__CONF_INT, 0, 0, 65535, NULL, "0", "Port; 0: no listener."},
	{"websocket.timeout", OB__CONF_SECONDS, 0, 0, 86400, NULL, "300", "Seconds without a byte from a client until it is closed; 0: never."},
	{"websocket.token", OB__CONF_SECRET, 0, 0, 0, NULL, NULL, "A secret for the codec, as the key of its encryption."},
	{"websocket.encode", OB__CONF_INT, 0, 0, 2, NULL, "0", "How the codec encrypts; 0: it does not. Refused at the start where the codec can't."},
	{"websocket.no_state", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Message ids that need not stay with one node."},
	{"websocket.no_state.range", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Ranges of them, both ends included."},
	{"websocket.no_state.range[]", OB__CONF_PAIR, 0, 0, 0, NULL, NULL, "[low, high]."},
	{"websocket.no_state.special", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Single ones."},
	{"websocket.no_state.special[]", OB__CONF_INT, 0, 1, 2147483647, NULL, NULL, "A message id."},
	{"listen", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Listeners for clients."},
	{"listen[]", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One listener."},
	{"listen[].transport", OB__CONF_STRING, 0, 0, 0, NULL, "ws", "What moves the bytes: ws, wss, tcp, tls, tcp+ws, tls+wss, unix, or what the module transport_NAME offers by that NAME. With a + the first bytes of a client tell whether it speaks HTTP (GET, POST, PUT, HEAD), and so WebSocket, or packets."},
	{"listen[].codec", OB__CONF_STRING, 0, 0, 0, NULL, "obespoir", "What turns bytes into messages: offered by the module codec_NAME."},
	{"listen[].host", OB__CONF_STRING, 0, 0, 0, NULL, "host", "Address to bind."},
	{"listen[].port", OB__CONF_INT, 0, 0, 65535, NULL, "0", "Port; 0: any free one."},
	{"listen[].path", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "Path of a unix socket."},
	{"listen[].reuseport", OB__CONF_BOOL, 0, 0, 0, NULL, "false", "Let several nodes share the port."},
	{"listen[].timeout", OB__CONF_SECONDS, 0, 0, 86400, NULL, "300", "As websocket.timeout."},
	{"listen[].tls", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Certificates of wss and tls. Files are read again when the configuration is; connections that are there go on with what they began with."},
	{"listen[].tls.cert", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "PEM file of the certificate, and its chain."},
	{"listen[].tls.key", OB__CONF_STRING, 0, 0, 0, NULL, "cert", "PEM file of its private key."},
	{"listen[].tls.ca", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "PEM file of the authorities that may have signed clients' certificates. With it a client must show one; absent: none is asked for."},
	{"listen[].tls.ciphers", OB__CONF_STRING, 0, 0, 0, NULL, "see text", "Ciphers of TLS 1.2, as OpenSSL writes them; absent: ECDHE with AES-GCM or ChaCha20. Those of TLS 1.3 are all good."},
	{"listen[].deflate", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Compression of WebSocket messages (permessage-deflate), each by itself, for clients that offer it."},
	{"listen[].deflate.enabled", OB__CONF_BOOL, 0, 0, 0, NULL, "false", "Accept it."},
	{"listen[].deflate.level", OB__CONF_INT, 0, 1, 9, NULL, "6", "From 1, the quickest, to 9, the smallest."},
	{"listen[].deflate.memory", OB__CONF_SIZE, 0, 0, 1073741824, NULL, "4m", "Bytes for what compresses, of all the listener's clients together: 260 KiB for each size of window that clients ask for, 2 MiB if they ask for all of them. Without memory messages go as they are; 0: any."},
	{"listen[].deflate.min", OB__CONF_SIZE, 0, 0, 67108864, NULL, "256", "A message with a payload of fewer bytes goes as it is."},
	{"listen[].limits", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Bounds of this listener and its clients."},
	{"listen[].limits.connections", OB__CONF_INT, 0, 0, 1000000, NULL, "0", "Most connections, handshakes included; 0: limits.connections for all listeners together."},
	{"listen[].limits.excess", OB__CONF_STRING, 0, 0, 0, "refuse|close", "refuse", "What becomes of messages beyond messages_per_second and per_id: they end with 503, or the client is closed with 1008."},
	{"listen[].limits.first_message", OB__CONF_SECONDS, 0, 0, 86400, NULL, "0", "Seconds a client has for its first message, then it is closed; 0: any."},
	{"listen[].limits.handshake_timeout", OB__CONF_SECONDS, 0, 0, 300, NULL, "10", "Seconds a newcomer has until it is a client: for the TLS handshake, the WebSocket handshake, and to say what it speaks, in all."},
	{"listen[].limits.message", OB__CONF_SIZE, 0, 0, 67108864, NULL, "limits.message", "Bytes of one message, if fewer than limits.message."},
	{"listen[].limits.messages_per_second", OB__CONF_INT, 0, 0, 1000000, NULL, "0", "Messages a client may send in a second, in the long run; 0: any number."},
	{"listen[].limits.burst", OB__CONF_INT, 0, 0, 1000000, NULL, "messages_per_second", "Messages it may send at once."},
	{"listen[].limits.packet_timeout", OB__CONF_SECONDS, 0, 0, 86400, NULL, "30", "Seconds within which a message that has begun must be whole, else the client is closed with 1008; 0: any."},
	{"listen[].limits.send_timeout", OB__CONF_SECONDS, 0, 0, 86400, NULL, "60", "Seconds in which a client that is read no further, because it does not read what is queued for it, must take some of that, else it is closed with 1008; 0: any. It may take up to twice as long until that is noticed."},
	{"listen[].limits.per_address", OB__CONF_INT, 0, 0, 1000000, NULL, "0", "Most connections from one IPv4 address or IPv6 network (64 bits); 0: any number."},
	{"listen[].limits.per_id", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Rates for ranges of message ids, besides messages_per_second; of overlapping ones the last wins. At most 64."},
	{"listen[].limits.per_id[]", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One range, for each client."},
	{"listen[].limits.per_id[].range", OB__CONF_PAIR, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "[low, high], both ends included."},
	{"listen[].limits.per_id[].per_second", OB__CONF_INT, OB__CONF_REQUIRED, 1, 1000000, NULL, NULL, "Messages in a second."},
	{"listen[].limits.per_id[].burst", OB__CONF_INT, 0, 1, 1000000, NULL, "per_second", "Messages at once."},
	{"listen[].origins", OB__CONF_LIST, 0, 0, 0, NULL, "any", "Origins of the pages whose WebSockets are accepted: https://game.example.org, a host alone for any scheme and port, *.example.org for all below it. Others get 403; a client that is no browser names none and is accepted."},
	{"listen[].origins[]", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "One of them."},
	{"listen[].proxy_protocol", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Addresses of load balancers, and ranges of them (10.0.0.0/8), or unix: a connection from there must begin with a header of the PROXY protocol, version 1 or 2, which says who the client is. From others none is looked for."},
	{"listen[].proxy_protocol[]", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "One of them."},
	{"listen[].no_state", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "As websocket.no_state."},
	{"listen[].no_state.range", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "As websocket.no_state.range."},
	{"listen[].no_state.range[]", OB__CONF_PAIR, 0, 0, 0, NULL, NULL, "[low, high]."},
	{"listen[].no_state.special", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "As websocket.no_state.special."},
	{"listen[].no_state.special[]", OB__CONF_INT, 0, 1, 2147483647, NULL, NULL, "A message id."},
	{"listen[].token", OB__CONF_SECRET, 0, 0, 0, NULL, NULL, "As websocket.token."},
	{"listen[].encode", OB__CONF_INT, 0, 0, 2, NULL, "0", "As websocket.encode."},
	{"listen[].codec_conf", OB__CONF_ANY, 0, 0, 0, NULL, NULL, "An object: the codec's own configuration, which says what may be in it."},
	{"http", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "The HTTP listener."},
	{"http.port", OB__CONF_INT, 0, 0, 65535, NULL, "0", "Port; 0: no listener."},
	{"http.token", OB__CONF_SECRET, 0, 0, 0, NULL, NULL, "Token of administrative requests: Authorization: Bearer TOKEN. Without one they are taken from this machine only."},
	{"http.encode", OB__CONF_INT, OB__CONF_IGNORED, 0, 1, NULL, NULL, "The seed's; ignored."},
	{"admin", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Moves administrative paths off the http port."},
	{"admin.port", OB__CONF_INT, 0, 1, 65535, NULL, NULL, "Port for administrative requests."},
	{"admin.unix", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "Or a unix socket for them."},
	{"rpc", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Links with other nodes."},
	{"rpc.port", OB__CONF_INT, 0, 0, 65535, NULL, "0", "Port on which other nodes' links are accepted; 0: none."},
	{"rpc.token", OB__CONF_SECRET, 0, 0, 0, NULL, NULL, "What both ends of a link must know; at least 16 bytes."},
	{"rpc.tokens", OB__CONF_MAP, 0, 0, 0, NULL, "{}", "Role to the token that proves it. If there is one, links are accepted from these roles only, each with its own token, and this node dials with that of its own type."},
	{"rpc.tokens.*", OB__CONF_LIST, OB__CONF_STRING_OK, 0, 0, NULL, NULL, "A token, or two while it is being changed: either is accepted, the first is used for dialling."},
	{"rpc.tokens.*[]", OB__CONF_SECRET, 0, 0, 0, NULL, NULL, "A token of at least 16 bytes."},
	{"rpc.encode", OB__CONF_INT, 0, 0, 1, NULL, "0", "1: links are TLS 1.3 with a key from the token. Must be the same at both ends."},
	{"rpc.tls", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Links are TLS 1.3 with certificates on both sides. Files are read again when the configuration is."},
	{"rpc.tls.cert", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "PEM file of this node's certificate, whose subjectAltName is URI:obhost:TYPE/NAME, and its chain."},
	{"rpc.tls.key", OB__CONF_STRING, 0, 0, 0, NULL, "cert", "PEM file of its private key."},
	{"rpc.tls.ca", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "PEM file of the authorities that may have signed the other node's certificate."},
	{"rpc.allow", OB__CONF_MAP, 0, 0, 0, NULL, "{}", "Role to what its nodes may send here, over their links; \"*\" is for roles without an entry. A role without either may send everything."},
	{"rpc.allow.*", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "What is not in it is denied with 403."},
	{"rpc.allow.*.ranges", OB__CONF_LIST, 0, 0, 0, NULL, "all", "Ranges of message ids, both ends included."},
	{"rpc.allow.*.ranges[]", OB__CONF_PAIR, 0, 0, 0, NULL, NULL, "[low, high]."},
	{"rpc.allow.*.methods", OB__CONF_LIST, 0, 0, 0, NULL, "all", "Names of methods; a * at the end stands for the rest."},
	{"rpc.allow.*.methods[]", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "A name, or the beginning of one and *."},
	{"rpc.allow.*.calls", OB__CONF_BOOL, 0, 0, 0, NULL, "true", "Calls that code makes, besides messages of clients."},
	{"rpc.allow.*.pushes", OB__CONF_BOOL, 0, 0, 0, NULL, "true", "Pushes to clients."},
	{"rpc.type", OB__CONF_STRING, OB__CONF_IGNORED, 0, 0, NULL, NULL, "The seed's; ignored."},
	{"rpc.too_busy", OB__CONF_SECONDS, 0, 0, 60, NULL, "0", "When the node is so late with its work, requests of other nodes end with 503 at once; 0: never."},
	{"rpc.reconnect_time", OB__CONF_SECONDS, 0, 0, 3600, NULL, "5", "Longest pause between attempts to reach a node."},
	{"rpc.address", OB__CONF_STRING, 0, 0, 0, NULL, "host", "Address that other nodes reach rpc.port at; HOST, or HOST:PORT if the port is another one from outside. A host that stands for all of a machine's addresses (0.0.0.0) is not told to anybody."},
	{"rpc.unix", OB__CONF_BOOL, 0, 0, 0, NULL, "see text", "A unix socket for nodes of the same machine and user, STATE_DIR/NAME/link.sock; absent: if there is an rpc.port."},
	{"rpc.listen", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "What else links are accepted on, by transports that modules offer. All nodes are told, and those that have the transport prefer it to tcp, in this order. With rpc.port and rpc.unix at most 4."},
	{"rpc.listen[]", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One address."},
	{"rpc.listen[].transport", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "Name of the transport."},
	{"rpc.listen[].address", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "Where to listen, as the transport writes it."},
	{"rpc.listen[].told", OB__CONF_STRING, 0, 0, 0, NULL, "address", "The address that others dial, if it is another one."},
	{"rpc.idle", OB__CONF_SECONDS, 0, 0, 86400, NULL, "60", "Seconds without traffic after which a link ends that was made for traffic towards a node that another one told of; 0: it stays."},
	{"rpc.serve", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Ranges of message ids that nodes of this type take, told to all nodes: they go there where a node's own rpc.route says nothing. At most 32."},
	{"rpc.serve[]", OB__CONF_PAIR, 0, 0, 0, NULL, NULL, "[low, high], both ends included."},
	{"rpc.weight", OB__CONF_INT, 0, 0, 65535, NULL, "100", "How much this node takes, compared with others of its type; 0: nothing while there are others."},
	{"rpc.key_time", OB__CONF_SECONDS, 0, 0, 3600, NULL, "60", "How long the end of a call with an idempotency key is kept, so that the same call again gets the same end and is not done twice."},
	{"rpc.log", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Calls that are logged, at both ends, at most ten lines in ten seconds."},
	{"rpc.log.slow", OB__CONF_SECONDS, 0, 0, 3600, NULL, "0", "Those that took so long; 0: none."},
	{"rpc.log.failed", OB__CONF_BOOL, 0, 0, 0, NULL, "false", "Those that failed."},
	{"rpc.policy", OB__CONF_MAP, 0, 0, 0, NULL, "{}", "Role to the policy that chooses which node of it takes a message: round_robin (the default), random, weighted, least_pending, hash, sticky, or one that a module offers. A session's first message that is to stay goes by it as well, where that is safe, and by sticky if there is none; what follows goes where the first one went, unless a module chooses."},
	{"rpc.policy.*", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "Name of a policy."},
	{"rpc.policy_range", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Policies for messages by range of ids, whichever role they go to; they come before the role's. Of overlapping ones the last wins."},
	{"rpc.policy_range[]", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One range."},
	{"rpc.policy_range[].range", OB__CONF_PAIR, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "[low, high], both ends included."},
	{"rpc.policy_range[].policy", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "Name of a policy, as in rpc.policy."},
	{"rpc.route", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "The route table: which role takes which message id."},
	{"rpc.route.range", OB__CONF_MAP, 0, 0, 0, NULL, "{}", "Role to ranges, both ends included; of overlapping ones the last wins."},
	{"rpc.route.range.*", OB__CONF_LIST, 0, 0, 0, NULL, NULL, "Ranges of one role."},
	{"rpc.route.range.*[]", OB__CONF_PAIR, 0, 0, 0, NULL, NULL, "[low, high]."},
	{"rpc.route.special", OB__CONF_MAP, 0, 0, 0, NULL, "{}", "Role to single ids, which win over ranges."},
	{"rpc.route.special.*", OB__CONF_LIST, 0, 0, 0, NULL, NULL, "Ids of one role."},
	{"rpc.route.special.*[]", OB__CONF_INT, 0, 1, 2147483647, NULL, NULL, "A message id."},
	{"rpc.sticky", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "What becomes of messages that stay with one node (all but those of no_state) when it is gone, by range of ids; of overlapping ones the last wins."},
	{"rpc.sticky[]", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One range."},
	{"rpc.sticky[].range", OB__CONF_PAIR, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "[low, high], both ends included."},
	{"rpc.sticky[].lost", OB__CONF_STRING, 0, 0, 0, "move|fail|wait|off", "move", "The node is gone: move, another is chosen; fail, 503 at once until it is back; wait, they wait for it for sticky_wait, then the client is closed; off: they need not stay anyway."},
	{"rpc.sticky[].by", OB__CONF_STRING, 0, 0, 0, "session|user", "session", "Whom the first choice goes by: user, so that a user who comes again gets to the same node while it is there."},
	{"rpc.sticky_wait", OB__CONF_SECONDS, 0, 0, 60, NULL, "3", "Seconds that a message of a range with wait waits for its node, but not longer than call_timeout."},
	{"remote_ports", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Nodes to have a link with."},
	{"remote_ports[]", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One node."},
	{"remote_ports[].transport", OB__CONF_STRING, 0, 0, 0, NULL, "see text", "What the link is made over: tcp (the default), unix (if there is a path), or the name of a transport that a module offers."},
	{"remote_ports[].address", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "Its address, as the transport writes it; of tcp HOST:PORT, of unix a path."},
	{"remote_ports[].host", OB__CONF_STRING, 0, 0, 0, NULL, "127.0.0.1", "Its address, of transport tcp."},
	{"remote_ports[].port", OB__CONF_INT, 0, 1, 65535, NULL, NULL, "Its rpc.port, of transport tcp."},
	{"remote_ports[].path", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "Path of its unix socket, STATE_DIR/NAME/link.sock, of transport unix."},
	{"remote_ports[].type", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "The role it must have."},
	{"remote_ports[].token", OB__CONF_SECRET, 0, 0, 0, NULL, "see text", "Its rpc.token, or what its rpc.tokens has for this node's type; absent: rpc.tokens has it for this node's type, else rpc.token."},
	{"remote_ports[].encode", OB__CONF_INT, 0, 0, 1, NULL, "rpc.encode", "Its rpc.encode; 0 with an rpc.tls here: plain all the same."},
	{"remote_ports[].tls", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "As rpc.tls."},
	{"remote_ports[].tls.cert", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "PEM file of this node's certificate, whose subjectAltName is URI:obhost:TYPE/NAME, and its chain."},
	{"remote_ports[].tls.key", OB__CONF_STRING, 0, 0, 0, NULL, "cert", "PEM file of its private key."},
	{"remote_ports[].tls.ca", OB__CONF_STRING, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "PEM file of the authorities that may have signed the other node's certificate."},
	{"limits", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Bounds."},
	{"limits.connections", OB__CONF_INT, 0, 1, 1000000, NULL, "100000", "Most client connections."},
	{"limits.sessions", OB__CONF_INT, 0, 1, 4000000, NULL, "1000000", "Most sessions known, those of other nodes' clients included."},
	{"limits.requests", OB__CONF_INT, 0, 1, 4000000, NULL, "1000000", "Most requests and calls that wait for an end; beyond it 503."},
	{"limits.in_flight", OB__CONF_INT, 0, 1, 1000000, NULL, "1024", "Requests of one client that wait for an end; beyond it the client is read no further until half of them have ended."},
	{"limits.message", OB__CONF_SIZE, 0, 64, 67108864, NULL, "1m", "Bytes of one message or HTTP body."},
	{"limits.client_queue", OB__CONF_SIZE, 0, 4096, 1073741824, NULL, "4m", "Bytes queued towards one client; beyond it the client is slow."},
	{"limits.slow", OB__CONF_STRING, 0, 0, 0, "close|drop|drop_oldest|conflate", "close", "What becomes of a slow client: it is closed; or pushes to it are dropped; or, from half of client_queue on, the oldest of them are; or the newest of each id is kept. Answers are never dropped."},
	{"limits.link_frames", OB__CONF_INT, 0, 0, 1000000000, NULL, "0", "Frames taken from one node in a second, where several messages share one each of them; beyond it requests end with 503 and pushes are dropped, and far beyond it the link is closed; 0: any number."},
	{"limits.link_bytes", OB__CONF_SIZE, 0, 0, 1099511627776, NULL, "0", "The same in bytes."},
	{"limits.link_queue", OB__CONF_SIZE, 0, 65536, 1073741824, NULL, "16m", "Bytes queued towards one node; beyond it requests end with 503."},
	{"limits.held", OB__CONF_SIZE, 0, 0, 1073741824, NULL, "8m", "Bytes of messages that wait, until their deadline, for a node to come up."},
	{"limits.keys", OB__CONF_INT, 0, 16, 4000000, NULL, "100000", "Most requests with an idempotency key that are remembered; beyond it the oldest ends are forgotten, or, while their senders may still ask, new requests with a key end with 503."},
	{"limits.keys_bytes", OB__CONF_SIZE, 0, 65536, 1073741824, NULL, "32m", "Bytes of these keys and of the answers kept with them."},
	{"limits.users", OB__CONF_INT, 0, 1, 16000000, NULL, "1000000", "Most users that a route node keeps the whereabouts of; beyond it 503."},
	{"limits.groups", OB__CONF_INT, 0, 1, 1000000, NULL, "65536", "Most groups that clients of this node are in; who would begin another one does not join it."},
	{"limits.group_members", OB__CONF_INT, 0, 1, 65536, NULL, "64", "Most groups that one client is a member of."},
	{"names", OB__CONF_MAP, 0, 0, 0, NULL, "{}", "Names of messages, each with its id: 1 to 255 bytes of text without control characters. A name that is not here has an id of its own from 1073741824 on, the same on all nodes; what is here must be the same on all of them, too."},
	{"names.*", OB__CONF_INT, 0, 1, 2147483647, NULL, NULL, "A message id, of this name only."},
	{"sessions", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Sessions and their users."},
	{"sessions.bind_timeout", OB__CONF_SECONDS, 0, 0, 120, NULL, "5", "Seconds that binding a session to a user may take, waiting for the user's former session included; then it ends with 504."},
	{"sessions.carry", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Keys of session attributes that go along with a session's messages to route nodes, for the policies there (ob_choice_attr). At most 4."},
	{"sessions.carry[]", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "A key: 1 to 32 bytes."},
	{"sessions.home_time", OB__CONF_SECONDS, 0, 0, 86400, NULL, "300", "Of route nodes: seconds after a user's session for which it is remembered which nodes his messages stayed with (rpc.sticky with by user), so that his next session gets to them; 0: not at all."},
	{"sessions.kick_id", OB__CONF_INT, 0, 0, 2147483647, NULL, "0", "Message id under which a client gets {\"reason\": TEXT} before it is closed because its user has logged in elsewhere or was kicked; 0: none."},
	{"sessions.resume", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Sessions that outlive their connection, until their clients are back. See clients.md."},
	{"sessions.resume.window", OB__CONF_SECONDS, 0, 0, 86400, NULL, "0", "Seconds that a session whose connection broke waits for its client; 0: none does."},
	{"sessions.resume.messages", OB__CONF_INT, 0, 1, 65536, NULL, "256", "Most messages to a client that are kept until it says that it has seen them; the oldest ones go."},
	{"sessions.resume.bytes", OB__CONF_SIZE, 0, 1024, 16777216, NULL, "64k", "Most bytes of these, overhead included; at most limits.client_queue."},
	{"sessions.resume.all", OB__CONF_SIZE, 0, 1024, 1099511627776, NULL, "256m", "Most bytes kept for all clients of the node together."},
	{"sessions.resume.detached", OB__CONF_INT, 0, 1, 1000000, NULL, "10000", "Most sessions without a connection; beyond it a session ends with its connection."},
	{"filters", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Filters for messages of this node's clients that are built in."},
	{"filters.serial", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One at a time: a client's message waits until the client's request before it has ended."},
	{"filters.serial.queue", OB__CONF_INT, 0, 1, 1024, NULL, "16", "Most messages of one client that wait; beyond it 503."},
	{"filters.serial.wait", OB__CONF_SECONDS, 0, 0, 3600, NULL, "3", "Seconds that one waits; then it ends with 504."},
	{"filters.time", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Measures how long clients' messages take, here and at their handlers: the histogram obhost_message_seconds, and a line in the log for slow ones, at most ten in ten seconds."},
	{"filters.time.slow", OB__CONF_SECONDS, 0, 0, 3600, NULL, "1", "Seconds from which on one is slow."},
	{"filters.timeout", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "Less or more time than call_timeout for some message ids; of overlapping ranges the last wins."},
	{"filters.timeout[]", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One range."},
	{"filters.timeout[].range", OB__CONF_PAIR, OB__CONF_REQUIRED, 0, 0, NULL, NULL, "[low, high], both ends included."},
	{"filters.timeout[].seconds", OB__CONF_SECONDS, OB__CONF_REQUIRED, 0, 3600, NULL, NULL, "Seconds until a request with such an id ends with 504."},
	{"filters.too_busy", OB__CONF_SECONDS, 0, 0, 60, NULL, "0", "When the node is so late with its work, clients' requests end with 503 at once; 0: never. For those of other nodes there is rpc.too_busy."},
	{"states", OB__CONF_MAP, 0, 0, 0, NULL, "{}", "States of sessions: what a client may send in each. A session begins in the first one; modules take it to others (ob_session_enter). Where neither this nor a module declares any, everything may be sent."},
	{"states.*", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "One state, whose name is 1 to 32 letters, digits, '_', '-' or '.'."},
	{"states.*.ids", OB__CONF_LIST, 0, 0, 0, NULL, "[]", "What is allowed in it: message ids, [low, high] for ranges of them, both ends included, and names of messages."},
	{"states.*.ids[]", OB__CONF_ANY, 0, 0, 0, NULL, NULL, "A message id, a range or a name."},
	{"states.*.refuse", OB__CONF_STRING, 0, 0, 0, "answer|close", "answer", "What comes of any other message: it is answered with 403, or closes the client with 1008."},
	{"reload", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "Replacing modules."},
	{"reload.budget", OB__CONF_SECONDS, 0, 0, 60, NULL, "0.1", "Seconds that handing over state may hold the loop when its version changed; 0: any."},
	{"reload.drain", OB__CONF_SECONDS, 0, 0, 86400, NULL, "60", "Seconds a replaced module may take to finish what it holds."},
	{"reload.errors", OB__CONF_INT, 0, 0, 100, NULL, "10", "In probation: a new module is taken back when this many percent more of its requests fail than of the old one's; 100: never."},
	{"reload.probation", OB__CONF_SECONDS, 0, 0, 86400, NULL, "30", "Seconds the old module stands by after the new one has taken over; 0: none."},
	{"reload.probe", OB__CONF_SECONDS, 0, 0, 600, NULL, "5", "Seconds a module may take in its rehearsal in a child process; 0: no rehearsal."},
	{"reload.rate", OB__CONF_STRING, 0, 0, 0, NULL, "\"10/s\"", "Most module transactions a second that are tried when asked for from outside; \"0/s\": any number."},
	{"reload.stall", OB__CONF_SECONDS, 0, 0, 600, NULL, "1", "In probation: a new module is taken back when one of its callbacks holds the loop for longer; 0: never."},
	{"log_level", OB__CONF_STRING, 0, 0, 0, "debug|info|notice|warning|warn|error", "info", "Least level that is logged."},
	{"log_dir", OB__CONF_STRING, 0, 0, 0, NULL, NULL, "Directory of NAME.log and NAME.error.log; absent: stderr."},
	{"log", OB__CONF_OBJECT, 0, 0, 0, NULL, NULL, "More about logging."},
	{"log.stderr", OB__CONF_BOOL, 0, 0, 0, NULL, "false", "Log to stderr besides the files."},
	{"log.ring", OB__CONF_INT, 0, 16, 1048576, NULL, "4096", "Lines that may wait for the disk; beyond it they are dropped and counted."},
	{"api_path", OB__CONF_ANY, OB__CONF_IGNORED, 0, 0, NULL, NULL, "The seed's; ignored (see modules)."},
	{"available_way", OB__CONF_STRING, 0, 0, 0, NULL, "local", "The seed's: local is all there is; mongo is refused."},
	{"mongo_uri", OB__CONF_SECRET, OB__CONF_IGNORED, 0, 0, NULL, NULL, "The seed's; ignored."},
	{NULL, 0, 0, 0, 0, NULL, NULL, NULL},
};
/* clang-format on */

struct reading {
	struct ob__nodeconf *c;
	ob__conf_report report;
	void *arg;
	int errors;
};

static void wrong(struct reading *r, const char *path, const char *text)
{
	ob__conf_complain(r->c->file, r->report, r->arg, OB__CONF_ERROR, path, "%s", text);
	r->errors++;
}

bool ob__host_is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (strcmp(host, "localhost") == 0) {
		return true;
	}
	if (inet_pton(AF_INET, host, &v4) == 1) {
		return (ntohl(v4.s_addr) >> 24) == 127;
	}
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool word_ok(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len >= OB__HELLO_NAME) {
		return false;
	}
	for (; *s != '\0'; s++) {
		if (!isalnum((unsigned char)*s) && strchr("._-", *s) == NULL) {
			return false;
		}
	}
	return true;
}

/* "10/s", "0.5/s" */
static double read_rate(struct reading *r, const char *text)
{
	char *end;
	double rate = strtod(text, &end);

	if (end == text || strcmp(end, "/s") != 0 || !(rate >= 0 && rate <= 1e6)) {
		wrong(r, "reload.rate", "must be a number with \"/s\" behind it, as \"10/s\"");
		return 0;
	}
	return rate;
}

static void read_reload(struct reading *r)
{
	const json_t *j = r->c->root;

	r->c->reload = (struct ob__reload_conf){
		.drain_ms = ob__conf_ms(j, "reload.drain", 60000),
		.probation_ms = ob__conf_ms(j, "reload.probation", 30000),
		.probe_ms = ob__conf_ms(j, "reload.probe", 5000),
		.budget_ms = ob__conf_ms(j, "reload.budget", 100),
		.stall_ms = ob__conf_ms(j, "reload.stall", 1000),
		.errors_percent = (unsigned)ob__conf_int(j, "reload.errors", 10),
		.rate = read_rate(r, ob__conf_str(j, "reload.rate", "10/s")),
	};
}

static void read_resume(struct reading *r)
{
	const json_t *j = r->c->root;

	r->c->resume = (struct ob__resume_conf){
		.window_ms = ob__conf_ms(j, "sessions.resume.window", 0),
		.detached = (uint32_t)ob__conf_int(j, "sessions.resume.detached", 10000),
		.bounds =
			{
				.messages =
					(uint32_t)ob__conf_int(j, "sessions.resume.messages", 256),
				.bytes = (size_t)ob__conf_int(j, "sessions.resume.bytes", 64 << 10),
				.all = (size_t)ob__conf_int(j, "sessions.resume.all", 256 << 20),
			},
	};
	if (r->c->resume.window_ms > 0 && r->c->resume.bounds.bytes > r->c->limits.client_queue) {
		wrong(r, "sessions.resume.bytes", "must not be above limits.client_queue");
	}
}

static void read_carry(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = ob__conf_get(c->root, "sessions.carry");

	if (json_array_size(list) > OB__CARRY_MAX) {
		wrong(r, "sessions.carry", "has more than 4 keys");
		return;
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *key = json_string_value(json_array_get(list, i));
		if (!ob__key_ok(key)) {
			wrong(r, "sessions.carry", "a key is 1 to 32 bytes of text");
		}
		c->carry[c->carry_len++] = key;
	}
}

/* No two have one id; ids that come from the host only have none. */
static void read_names(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	struct ob__msgnames seen = {.by_id = {.seed = 0}};
	const char *name;
	json_t *id;

	c->names = json_object_get(c->root, "names");
	json_object_foreach ((json_t *)(uintptr_t)c->names, name, id) {
		uint32_t n = (uint32_t)json_integer_value(id);
		if (!ob__msgname_ok(name, strlen(name))) {
			wrong(r, "names", "has a name that is empty, too long or no text");
		} else if (n == OB__OFFLINE_ID || n == c->session_closed_id) {
			wrong(r, "names", "has an id that is reserved");
		} else if (ob__msgnames_choose(&seen, name, n) != 0) {
			wrong(r, "names", "has two names with one id");
		}
	}
	ob__msgnames_free(&seen);
}

/* The id of a name as the node will know it. */
static uint32_t id_of_name(const struct ob__nodeconf *c, const char *name)
{
	const json_t *given = json_object_get(c->names, name);

	if (given != NULL) {
		return (uint32_t)json_integer_value(given);
	}
	return ob__msgname_ok(name, strlen(name)) ? ob__msgname_hash(name, strlen(name)) : 0;
}

/* One item of states.*.ids. */
static bool read_state_ids(const struct ob__nodeconf *c, const json_t *item,
                           struct ob__state_ids *ids)
{
	json_int_t lo = json_integer_value(item);
	json_int_t hi = lo;

	if (json_is_string(item)) {
		lo = hi = id_of_name(c, json_string_value(item));
	} else if (json_is_array(item) && json_array_size(item) == 2) {
		lo = json_integer_value(json_array_get(item, 0));
		hi = json_integer_value(json_array_get(item, 1));
	}
	*ids = (struct ob__state_ids){(uint32_t)lo, (uint32_t)hi};
	return lo > 0 && lo <= hi && hi <= INT32_MAX;
}

static void read_state(struct reading *r, const char *name, const json_t *conf,
                       struct ob__state_conf *s)
{
	const json_t *list = json_object_get(conf, "ids");
	char path[128];
	size_t i;
	json_t *item;

	s->name = name;
	s->closes = strcmp(ob__conf_str(conf, "refuse", "answer"), "close") == 0;
	s->ids = calloc(json_array_size(list) + 1, sizeof(*s->ids));
	if (!ob__state_name_ok(name)) {
		wrong(r, "states",
		      "has a name that is not 1 to 32 letters, digits, '_', '-' or '.'");
		return;
	}
	json_array_foreach (list, i, item) {
		if (s->ids == NULL || !read_state_ids(r->c, item, &s->ids[s->ids_len++])) {
			snprintf(path, sizeof(path), "states[\"%s\"].ids[%zu]", name, i);
			wrong(r, path,
			      "is no message id (1 to 2147483647), range of them, or name");
		}
	}
}

static void read_states(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	json_t *map = (json_t *)(uintptr_t)json_object_get(c->root, "states");
	const char *name;
	json_t *conf;

	c->states = calloc(json_object_size(map) + 1, sizeof(*c->states));
	if (c->states == NULL || json_object_size(map) > OB__STATES_MAX / 2) {
		wrong(r, "states", "has more than 128 states");
		return;
	}
	json_object_foreach (map, name, conf) {
		read_state(r, name, conf, &c->states[c->states_len++]);
	}
}

static void read_filters(struct reading *r)
{
	const json_t *j = r->c->root;
	struct ob__filters_conf *f = &r->c->filters;
	size_t i;
	json_t *item;
	int rc = 0;

	f->time = ob__conf_get(j, "filters.time") != NULL;
	f->slow_ms = ob__conf_ms(j, "filters.time.slow", 1000);
	f->too_busy_ms = ob__conf_ms(j, "filters.too_busy", 0);
	if (ob__conf_get(j, "filters.serial") != NULL) {
		f->serial_queue = (uint32_t)ob__conf_int(j, "filters.serial.queue", 16);
		f->serial_wait_ms = ob__conf_ms(j, "filters.serial.wait", 3000);
	}
	ob__idrange_init(&f->timeouts);
	json_array_foreach (ob__conf_get(j, "filters.timeout"), i, item) {
		const json_t *range = json_object_get(item, "range");
		uint64_t ms = ob__conf_ms(item, "seconds", 0);
		if (ms == 0) {
			wrong(r, "filters.timeout", "has seconds that are not above 0");
		}
		rc |= ob__idrange_add(
			&f->timeouts, (uint32_t)json_integer_value(json_array_get(range, 0)),
			(uint32_t)json_integer_value(json_array_get(range, 1)), (uint32_t)ms);
	}
	if (rc != 0 || ob__idrange_seal(&f->timeouts, NULL, NULL) != 0) {
		wrong(r, "filters.timeout", "has too many entries");
	}
}

static void read_node(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *j = c->root;

	c->name = ob__conf_str(j, "name", "");
	c->role = ob__conf_str(j, "type", "");
	c->host = ob__conf_str(j, "host", "127.0.0.1");
	c->call_timeout_ms = ob__conf_ms(j, "call_timeout", 5000);
	read_reload(r);
	c->session_closed_id = (uint32_t)ob__conf_int(j, "session_closed_id", 100130);
	c->kick_id = (uint32_t)ob__conf_int(j, "sessions.kick_id", 0);
	c->bind_timeout_ms = ob__conf_ms(j, "sessions.bind_timeout", 5000);
	c->home_ms = ob__conf_ms(j, "sessions.home_time", 300000);
	read_carry(r);
	read_names(r);
	read_states(r);
	read_filters(r);
	c->state_dir = ob__conf_str(j, "state_dir", NULL);
	c->pid = ob__conf_str(j, "pid", NULL);
	c->user = ob__conf_str(j, "user", NULL);
	c->log_level = ob__log_level_from(ob__conf_str(j, "log_level", "info"));
	c->log_dir = ob__conf_str(j, "log_dir", NULL);
	c->log_stderr = ob__conf_bool(j, "log.stderr", false);
	c->log_ring = (size_t)ob__conf_int(j, "log.ring", 4096);
	if (!word_ok(c->name)) {
		wrong(r, "name", "must be 1 to 63 letters, digits, '.', '_' or '-'");
	}
	if (!word_ok(c->role)) {
		wrong(r, "type", "must be 1 to 63 letters, digits, '.', '_' or '-'");
	}
	if (c->call_timeout_ms == 0) {
		wrong(r, "call_timeout", "must be above 0: every request needs a deadline");
	}
	if (c->bind_timeout_ms == 0) {
		wrong(r, "sessions.bind_timeout", "must be above 0: a login needs a deadline");
	}
	if (strcmp(ob__conf_str(j, "available_way", "local"), "local") != 0) {
		wrong(r, "available_way", "only \"local\" is built; put the nodes in remote_ports");
	}
}

static uint8_t slow_of(const char *word)
{
	static const char *const words[] = {"close", "drop", "drop_oldest", "conflate"};
	uint8_t slow = OB__SLOW_CLOSE;

	while (slow < OB__SLOW_CONFLATE && strcmp(words[slow], word) != 0) {
		slow++;
	}
	return slow;
}

static void read_limits(struct reading *r)
{
	const json_t *j = r->c->root;

	r->c->limits = (struct ob__limits){
		.connections = (uint32_t)ob__conf_int(j, "limits.connections", 100000),
		.sessions = (uint32_t)ob__conf_int(j, "limits.sessions", 1000000),
		.requests = (uint32_t)ob__conf_int(j, "limits.requests", 1000000),
		.in_flight = (uint32_t)ob__conf_int(j, "limits.in_flight", 1024),
		.message = (size_t)ob__conf_int(j, "limits.message", 1 << 20),
		.client_queue = (size_t)ob__conf_int(j, "limits.client_queue", 4 << 20),
		.slow = slow_of(ob__conf_str(j, "limits.slow", "close")),
		.link_frames = (uint32_t)ob__conf_int(j, "limits.link_frames", 0),
		.link_bytes = (size_t)ob__conf_int(j, "limits.link_bytes", 0),
		.link_queue = (size_t)ob__conf_int(j, "limits.link_queue", 16 << 20),
		.held = (size_t)ob__conf_int(j, "limits.held", 8 << 20),
		.keys = (uint32_t)ob__conf_int(j, "limits.keys", 100000),
		.keys_bytes = (size_t)ob__conf_int(j, "limits.keys_bytes", 32 << 20),
		.users = (uint32_t)ob__conf_int(j, "limits.users", 1000000),
		.groups = (uint32_t)ob__conf_int(j, "limits.groups", 65536),
		.group_members = (uint32_t)ob__conf_int(j, "limits.group_members", 64),
	};
}

/* Ids as [lo, hi] pairs under `range` and numbers under `special`, into one table. */
static void read_no_state(struct reading *r, const json_t *no_state, struct ob__idrange *t)
{
	size_t i;
	json_t *item;
	int rc = 0;

	ob__idrange_init(t);
	json_array_foreach (json_object_get(no_state, "range"), i, item) {
		rc |= ob__idrange_add(t, (uint32_t)json_integer_value(json_array_get(item, 0)),
		                      (uint32_t)json_integer_value(json_array_get(item, 1)), 1);
	}
	json_array_foreach (json_object_get(no_state, "special"), i, item) {
		rc |= ob__idrange_add_special(t, (uint32_t)json_integer_value(item), 1);
	}
	if (rc != 0 || ob__idrange_seal(t, NULL, NULL) != 0) {
		wrong(r, "websocket.no_state", "too many entries");
	}
}

static void read_listen(struct reading *r, const json_t *item, const char *where,
                        struct ob__listen_conf *l)
{
	const char *path = ob__conf_str(item, "path", NULL);
	const char *token = ob__conf_str(item, "token", NULL);

	l->where = where;
	l->transport = strdup(ob__conf_str(item, "transport", "ws"));
	l->codec = strdup(ob__conf_str(item, "codec", DEFAULT_CODEC));
	l->host = strdup(ob__conf_str(item, "host", r->c->host));
	l->path = path != NULL ? strdup(path) : NULL;
	l->port = (int)ob__conf_int(item, "port", 0);
	l->reuseport = ob__conf_bool(item, "reuseport", false);
	l->timeout_ms = ob__conf_ms(item, "timeout", 300000);
	l->encode = (uint32_t)ob__conf_int(item, "encode", 0);
	l->codec_conf = json_incref(json_object_get(item, "codec_conf"));
	read_no_state(r, json_object_get(item, "no_state"), &l->no_state);
	l->token = token != NULL ? strdup(token) : NULL;
	if (l->transport == NULL || l->codec == NULL || l->host == NULL ||
	    (path != NULL && l->path == NULL) || (token != NULL && l->token == NULL)) {
		wrong(r, where, "out of memory");
		return;
	}
	bool is_unix = (ob__listen_kind(l->transport) & OB__LISTEN_UNIX) != 0;
	if (is_unix != (l->path != NULL)) {
		wrong(r, where, "path goes with transport \"unix\", and only with it");
	}
	if (!word_ok(l->codec)) {
		wrong(r, where, "codec must be letters, digits, '.', '_' or '-'");
	}
	if (l->codec_conf != NULL && !json_is_object(l->codec_conf)) {
		wrong(r, where, "codec_conf must be an object");
	}
}

struct place {
	struct reading *r;
	char path[32];
};

static void wrong_in(void *arg, const char *key, const char *text)
{
	struct place *p = arg;
	char path[96];

	snprintf(path, sizeof(path), "%s.%s", p->path, key);
	wrong(p->r, path, text);
}

static void read_listens(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = json_object_get(c->root, "listen");
	const json_t *ws = json_object_get(c->root, "websocket");
	bool has_ws = ob__conf_int(c->root, "websocket.port", 0) != 0;

	c->listens = calloc(json_array_size(list) + 1, sizeof(*c->listens));
	if (c->listens == NULL) {
		wrong(r, "listen", "out of memory");
		return;
	}
	if (has_ws) {
		struct place p = {r, "websocket"};
		read_listen(r, ws, "websocket", &c->listens[c->listens_len]);
		ob__listen_conf_read(&c->listens[c->listens_len++], ws, wrong_in, &p);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct place p = {r, ""};
		snprintf(p.path, sizeof(p.path), "listen[%zu]", i);
		read_listen(r, item, "listen", &c->listens[c->listens_len]);
		ob__listen_conf_read(&c->listens[c->listens_len++], item, wrong_in, &p);
	}
}

static void read_http(struct reading *r)
{
	struct ob__nodeconf *c = r->c;

	c->http_port = (int)ob__conf_int(c->root, "http.port", 0);
	c->http_token = ob__conf_str(c->root, "http.token", NULL);
	c->admin_port = (int)ob__conf_int(c->root, "admin.port", 0);
	c->admin_unix = ob__conf_str(c->root, "admin.unix", NULL);
	if (c->admin_port != 0 && c->admin_unix != NULL) {
		wrong(r, "admin", "has both port and unix; choose one");
	}
	if (c->http_token == NULL || strcmp(c->http_token, SEED_TOKEN) != 0) {
		return;
	}
	if (!ob__host_is_loopback(c->host)) {
		wrong(r, "http.token",
		      "is the well-known demo token and host is not a loopback address; "
		      "choose a token of your own");
		return;
	}
	c->http_token = NULL;
}

static void check_token(struct reading *r, const char *path, const char *token)
{
	if (strlen(token) < OB__HELLO_TOKEN_MIN) {
		wrong(r, path, "must have at least 16 bytes");
	} else if (strcmp(token, SEED_TOKEN) == 0 && !ob__host_is_loopback(r->c->host)) {
		ob__conf_complain(r->c->file, r->report, r->arg, OB__CONF_WARNING, path,
		                  "is the well-known demo token; choose one of your own");
	}
}

/* The token with which this node dials, if an entry has none of its own. */
static bool has_dial_token(const struct ob__nodeconf *c)
{
	for (size_t i = 0; i < c->rpc_tokens_len; i++) {
		if (strcmp(c->rpc_tokens[i].role, c->role) == 0) {
			return true;
		}
	}
	return c->rpc_token != NULL;
}

/* Whether the files can be used is seen now, and not when a link is to come up. */
static void check_files(struct reading *r, const char *path, const struct ob__link_files *files)
{
	const struct ob__tls_options o = {
		.server = true,
		.only_13 = true,
		.cert = files->cert,
		.key = files->key,
		.ca = files->ca,
	};
	char err[256];
	struct ob__tls_ctx *ctx = ob__tls_ctx_new(&o, err, sizeof(err));

	if (ctx == NULL) {
		wrong(r, path, err);
	}
	ob__tls_ctx_free(ctx);
}

/* The encode and tls of `j`, which is at `prefix` in the file. */
static void read_security(struct reading *r, const json_t *j, const char *prefix,
                          enum ob__link_security absent, struct ob__security_conf *s)
{
	char path[80];

	s->mode = absent;
	if (json_object_get(j, "encode") != NULL) {
		s->mode = ob__conf_int(j, "encode", 0) != 0 ? OB__LINK_PSK : OB__LINK_PLAIN;
	}
	if (json_object_get(j, "tls") == NULL) {
		return;
	}
	snprintf(path, sizeof(path), "%stls", prefix);
	if (s->mode == OB__LINK_PSK) {
		wrong(r, path, "and encode are two ways to encrypt; choose one");
	}
	s->mode = OB__LINK_CERT;
	s->files = (struct ob__link_files){
		.cert = ob__conf_str(j, "tls.cert", NULL),
		.key = ob__conf_str(j, "tls.key", NULL),
		.ca = ob__conf_str(j, "tls.ca", NULL),
	};
	check_files(r, path, &s->files);
}

static void read_role_token(struct reading *r, const char *role, const json_t *value,
                            struct ob__role_token *t)
{
	size_t n = json_is_array(value) ? json_array_size(value) : 1;
	char path[OB__HELLO_NAME + 32];

	if (!word_ok(role)) {
		wrong(r, "rpc.tokens", "has a role that is no word");
		return;
	}
	t->role = role;
	snprintf(path, sizeof(path), "rpc.tokens.%s", role);
	if (n < 1 || n > 2) {
		wrong(r, path, "must be one token, or two while it is being changed");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		t->token[i] =
			json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
		check_token(r, path, t->token[i]);
	}
}

static void read_tokens(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	json_t *map = (json_t *)(uintptr_t)ob__conf_get(c->root, "rpc.tokens");
	const char *role;
	json_t *value;

	c->rpc_tokens = calloc(json_object_size(map) + 1, sizeof(*c->rpc_tokens));
	if (c->rpc_tokens == NULL) {
		wrong(r, "rpc.tokens", "out of memory");
		return;
	}
	json_object_foreach (map, role, value) {
		read_role_token(r, role, value, &c->rpc_tokens[c->rpc_tokens_len++]);
	}
}

/* A transport that a module offers, and one of its addresses; which module is not known here. */
static void read_way(struct reading *r, const json_t *item, const char *place,
                     struct ob__transport_way *way)
{
	char path[80];

	way->transport = ob__conf_str(item, "transport", "");
	way->address = ob__conf_str(item, "address", "");
	snprintf(path, sizeof(path), "%stransport", place);
	if (!word_ok(way->transport) || strchr(way->transport, '.') != NULL) {
		wrong(r, path, "a transport's name is letters, digits, '_' or '-'");
	}
	snprintf(path, sizeof(path), "%saddress", place);
	if (!ob__transport_address_ok(way->address)) {
		wrong(r, path, "must be 1 to 107 printable ASCII characters");
	}
}

static void read_host(struct reading *r, const json_t *item, const char *place,
                      struct ob__remote_conf *m)
{
	const char *text = ob__conf_str(item, "address", NULL);
	struct ob__address a = {.kind = OB__ADDRESS_OTHER};
	char full[OB__MEMBER_ADDRESS];
	char path[80];

	m->host = ob__conf_str(item, "host", "127.0.0.1");
	m->port = (int)ob__conf_int(item, "port", 0);
	if (text == NULL) {
		snprintf(path, sizeof(path), "%sport", place);
		if (m->port == 0) {
			wrong(r, path, "missing");
		}
		return;
	}
	snprintf(path, sizeof(path), "%saddress", place);
	if (snprintf(full, sizeof(full), "tcp %s", text) >= (int)sizeof(full) ||
	    ob__address_get(&a, full) != 0) {
		wrong(r, path, "of tcp is HOST:PORT or [HOST]:PORT");
		return;
	}
	m->host = m->host_text = strdup(a.host);
	m->port = a.port;
	if (m->host == NULL) {
		wrong(r, path, "out of memory");
	}
}

/* Where the node is: one address, in one of the ways to write it. */
static void read_where(struct reading *r, const json_t *item, const char *place,
                       struct ob__remote_conf *m)
{
	const char *path = ob__conf_str(item, "path", NULL);
	const char *address = ob__conf_str(item, "address", NULL);
	const char *transport = ob__conf_str(item, "transport", path != NULL ? "unix" : "tcp");
	bool is_tcp = strcmp(transport, "tcp") == 0;
	bool is_unix = strcmp(transport, "unix") == 0;
	char where[80];

	snprintf(where, sizeof(where), "%saddress", place);
	if ((path != NULL && (!is_unix || address != NULL)) ||
	    ((json_object_get(item, "host") != NULL || json_object_get(item, "port") != NULL) &&
	     (!is_tcp || address != NULL))) {
		wrong(r, where,
		      "stands alone: host and port go with transport tcp, path with unix");
	}
	if (is_tcp) {
		read_host(r, item, place, m);
	} else if (is_unix) {
		m->path = path != NULL ? path : address;
		if (m->path == NULL || m->path[0] != '/' ||
		    strlen(m->path) >= sizeof(((struct ob__address *)NULL)->path)) {
			wrong(r, where, "of unix is the path of a socket, from / on");
		}
	} else {
		read_way(r, item, place, &m->way);
	}
}

static void read_rpc_listens(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = ob__conf_get(c->root, "rpc.listen");
	size_t told = json_array_size(list) + (c->rpc_port != 0) + c->rpc_unix;

	c->rpc_listens = calloc(json_array_size(list) + 1, sizeof(*c->rpc_listens));
	if (c->rpc_listens == NULL) {
		wrong(r, "rpc.listen", "out of memory");
		return;
	}
	if (json_array_size(list) > 0 && told > OB__MEMBER_ADDRESSES) {
		wrong(r, "rpc.listen", "makes more than 4 addresses, with rpc.port and rpc.unix");
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct ob__rpc_listen_conf *l = &c->rpc_listens[c->rpc_listens_len++];
		char path[64];
		snprintf(path, sizeof(path), "rpc.listen[%zu].", i);
		read_way(r, item, path, &l->way);
		if (ob__transport_built_in(l->way.transport)) {
			snprintf(path, sizeof(path), "rpc.listen[%zu].transport", i);
			wrong(r, path, "is built in: that is rpc.port, or rpc.unix");
		}
		l->told = ob__conf_str(item, "told", l->way.address);
		if (!ob__transport_address_ok(l->told)) {
			snprintf(path, sizeof(path), "rpc.listen[%zu].told", i);
			wrong(r, path, "must be 1 to 107 printable ASCII characters");
		}
	}
}

static void read_remotes(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = json_object_get(c->root, "remote_ports");

	c->remotes = calloc(json_array_size(list) + 1, sizeof(*c->remotes));
	if (c->remotes == NULL) {
		wrong(r, "remote_ports", "out of memory");
		return;
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct ob__remote_conf *m = &c->remotes[c->remotes_len++];
		char path[64];

		m->role = ob__conf_str(item, "type", NULL);
		m->token = ob__conf_str(item, "token", NULL);
		snprintf(path, sizeof(path), "remote_ports[%zu].", i);
		read_where(r, item, path, m);
		read_security(r, item, path, OB__LINK_AS_NODE, &m->security);
		bool by_cert = m->security.mode == OB__LINK_CERT ||
		               (m->security.mode == OB__LINK_AS_NODE &&
		                c->rpc_security.mode == OB__LINK_CERT);
		snprintf(path, sizeof(path), "remote_ports[%zu].token", i);
		if (m->token != NULL) {
			check_token(r, path, m->token);
		} else if (!has_dial_token(c) && !by_cert) {
			wrong(r, path, "is missing, and there is no rpc.token");
		}
	}
}

#define POLICY_NAME "a policy's name is letters, digits, '_' or '-'"

static bool policy_ok(const json_t *name)
{
	return word_ok(json_string_value(name)) && strchr(json_string_value(name), '.') == NULL;
}

static void read_policy_ranges(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = ob__conf_get(c->root, "rpc.policy_range");
	size_t i;
	json_t *item;
	int rc = 0;

	ob__idrange_init(&c->policy_range);
	c->choosers = calloc(json_array_size(list) + 1, sizeof(*c->choosers));
	if (c->choosers == NULL) {
		wrong(r, "rpc.policy_range", "out of memory");
		return;
	}
	c->choosers_len = json_array_size(list);
	json_array_foreach (list, i, item) {
		const json_t *range = json_object_get(item, "range");
		if (!policy_ok(json_object_get(item, "policy"))) {
			wrong(r, "rpc.policy_range", POLICY_NAME);
		}
		rc |= ob__idrange_add(
			&c->policy_range, (uint32_t)json_integer_value(json_array_get(range, 0)),
			(uint32_t)json_integer_value(json_array_get(range, 1)), (uint32_t)i);
	}
	if (rc != 0 || ob__idrange_seal(&c->policy_range, NULL, NULL) != 0) {
		wrong(r, "rpc.policy_range", "has too many entries");
	}
}

static void read_policies(struct reading *r)
{
	const char *role;
	json_t *name;

	json_object_foreach ((json_t *)(uintptr_t)ob__conf_get(r->c->root, "rpc.policy"), role,
	                     name) {
		if (!word_ok(role)) {
			wrong(r, "rpc.policy", "has a role that is no word");
		} else if (!policy_ok(name)) {
			wrong(r, "rpc.policy", POLICY_NAME);
		}
	}
	read_policy_ranges(r);
}

static void check_allow(struct reading *r)
{
	const char *role;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)ob__conf_get(r->c->root, "rpc.allow"), role,
	                     value) {
		if (strcmp(role, "*") != 0 && !word_ok(role)) {
			wrong(r, "rpc.allow", "has a role that is no word");
		}
	}
}

static void read_sticky(struct reading *r)
{
	static const char *const words[] = {"move", "fail", "wait", "off"};
	struct ob__nodeconf *c = r->c;
	size_t i;
	json_t *item;
	int rc = 0;

	c->sticky_wait_ms = ob__conf_ms(c->root, "rpc.sticky_wait", 3000);
	ob__idrange_init(&c->sticky);
	json_array_foreach (ob__conf_get(c->root, "rpc.sticky"), i, item) {
		const json_t *range = json_object_get(item, "range");
		const char *lost = ob__conf_str(item, "lost", words[0]);
		uint32_t rule = 0;
		while (rule < OB__LOST_OFF && strcmp(words[rule], lost) != 0) {
			rule++;
		}
		if (strcmp(ob__conf_str(item, "by", "session"), "user") == 0) {
			rule |= OB__STICKY_BY_USER;
			c->sticky_by_user = true;
		}
		rc |= ob__idrange_add(&c->sticky,
		                      (uint32_t)json_integer_value(json_array_get(range, 0)),
		                      (uint32_t)json_integer_value(json_array_get(range, 1)), rule);
	}
	if (rc != 0 || ob__idrange_seal(&c->sticky, NULL, NULL) != 0) {
		wrong(r, "rpc.sticky", "has too many entries");
	}
}

/* "HOST", "HOST:PORT", "[::1]:PORT", "::1". */
static void read_address(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	const char *text = ob__conf_str(c->root, "rpc.address", NULL);
	struct ob__address a = {.kind = OB__ADDRESS_TCP};
	char full[OB__MEMBER_ADDRESS];
	const char *colon = text != NULL ? strrchr(text, ':') : NULL;

	c->rpc_address_port = c->rpc_port;
	if (text == NULL) {
		bool all = strcmp(c->host, "0.0.0.0") == 0 || strcmp(c->host, "::") == 0;
		c->rpc_address = all ? NULL : c->host;
		return;
	}
	bool has_port = colon != NULL && (text[0] == '[' || strchr(text, ':') == colon);
	snprintf(full, sizeof(full), has_port ? "tcp %s" : "tcp %s:1", text);
	if (strlen(text) + 7 > sizeof(full) || (!has_port && colon != NULL) ||
	    ob__address_get(&a, full) != 0) {
		wrong(r, "rpc.address", "must be HOST, HOST:PORT or [HOST]:PORT");
		return;
	}
	c->rpc_address = c->rpc_host_text = strdup(a.host);
	c->rpc_address_port = has_port ? a.port : c->rpc_port;
	if (c->rpc_address == NULL) {
		wrong(r, "rpc.address", "out of memory");
	}
}

static void read_member(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = ob__conf_get(c->root, "rpc.serve");
	size_t i;
	json_t *pair;

	c->rpc_unix = ob__conf_bool(c->root, "rpc.unix", c->rpc_port != 0);
	c->link_idle_ms = ob__conf_ms(c->root, "rpc.idle", OB__DIALER_IDLE_MS);
	c->weight = (uint32_t)ob__conf_int(c->root, "rpc.weight", OB__MEMBER_WEIGHT);
	read_address(r);
	c->serve = calloc(json_array_size(list) + 1, sizeof(*c->serve));
	if (c->serve == NULL || json_array_size(list) > OB__MEMBER_RANGES) {
		wrong(r, "rpc.serve", "has more than 32 ranges");
		return;
	}
	json_array_foreach (list, i, pair) {
		c->serve[c->serve_len++] = (struct ob__member_range){
			(uint32_t)json_integer_value(json_array_get(pair, 0)),
			(uint32_t)json_integer_value(json_array_get(pair, 1)),
		};
	}
}

static void read_rpc(struct reading *r)
{
	struct ob__nodeconf *c = r->c;

	c->rpc_port = (int)ob__conf_int(c->root, "rpc.port", 0);
	c->rpc_token = ob__conf_str(c->root, "rpc.token", NULL);
	c->reconnect_ms = ob__conf_ms(c->root, "rpc.reconnect_time", 5000);
	c->key_ms = ob__conf_ms(c->root, "rpc.key_time", 60000);
	c->too_busy_ms = ob__conf_ms(c->root, "rpc.too_busy", 0);
	c->call_slow_ms = ob__conf_ms(c->root, "rpc.log.slow", 0);
	c->call_log_failed = json_is_true(ob__conf_get(c->root, "rpc.log.failed"));
	read_tokens(r);
	read_security(r, json_object_get(c->root, "rpc"), "rpc.", OB__LINK_PLAIN, &c->rpc_security);
	bool listens = c->rpc_port != 0 || json_array_size(ob__conf_get(c->root, "rpc.listen")) > 0;
	if (listens && c->rpc_token == NULL && c->rpc_tokens_len == 0 &&
	    c->rpc_security.mode != OB__LINK_CERT) {
		wrong(r, "rpc.token", "is missing: links without a token are not accepted");
	}
	if (c->rpc_token != NULL) {
		check_token(r, "rpc.token", c->rpc_token);
	}
	check_allow(r);
	read_sticky(r);
	read_member(r);
	read_rpc_listens(r);
	read_policies(r);
	read_remotes(r);
}

static bool is_path(const char *module)
{
	return strchr(module, '/') != NULL ||
	       (strlen(module) > 3 && strcmp(module + strlen(module) - 3, ".so") == 0);
}

/* "examples/.libs/login.so" -> "login". */
static char *name_of_path(const char *path)
{
	const char *base = strrchr(path, '/');
	base = base != NULL ? base + 1 : path;
	size_t len = strlen(base);

	if (len > 3 && strcmp(base + len - 3, ".so") == 0) {
		len -= 3;
	}
	return strndup(base, len);
}

static const struct ob__module_conf *find_module(const struct ob__nodeconf *c, const char *name)
{
	for (size_t i = 0; i < c->modules_len; i++) {
		if (strcmp(c->modules[i].name, name) == 0) {
			return &c->modules[i];
		}
	}
	return NULL;
}

static void add_module(struct reading *r, const char *name, const char *path, const json_t *conf,
                       bool admin, bool implied)
{
	struct ob__nodeconf *c = r->c;
	struct ob__module_conf *grown =
		realloc(c->modules, (c->modules_len + 1) * sizeof(*c->modules));

	if (grown == NULL) {
		wrong(r, "modules", "out of memory");
		return;
	}
	c->modules = grown;
	struct ob__module_conf *m = &grown[c->modules_len];
	*m = (struct ob__module_conf){
		.name = path != NULL && name == NULL ? name_of_path(path) : strdup(name),
		.path = path != NULL ? strdup(path) : NULL,
		.conf = conf != NULL ? json_deep_copy(conf) : json_object(),
		.admin = admin,
		.implied = implied,
	};
	if (m->name == NULL || m->conf == NULL || (path != NULL && m->path == NULL)) {
		wrong(r, "modules", "out of memory");
	} else if (!word_ok(m->name)) {
		wrong(r, "modules", "a module's name is letters, digits, '.', '_' or '-'");
	} else if (find_module(c, m->name) != NULL) {
		wrong(r, "modules", "names a module twice");
	} else if (!json_is_object(m->conf)) {
		wrong(r, "modules", "conf must be an object");
	}
	c->modules_len++;
}

static void read_module_list(struct reading *r, const json_t *list)
{
	size_t i;
	json_t *item;

	json_array_foreach (list, i, item) {
		const char *word = json_string_value(item);
		if (word != NULL && is_path(word)) {
			add_module(r, NULL, word, NULL, false, false);
		} else if (word != NULL) {
			add_module(r, word, NULL, NULL, false, false);
		} else {
			add_module(r, ob__conf_str(item, "name", ""),
			           ob__conf_str(item, "path", NULL), json_object_get(item, "conf"),
			           ob__conf_bool(item, "admin", false), false);
		}
	}
}

static void imply_modules(struct reading *r)
{
	struct ob__nodeconf *c = r->c;

	if (c->listens_len > 0) {
		add_module(r, "proxy", NULL, NULL, false, true);
	} else if (strcmp(c->role, "route") == 0) {
		add_module(r, "route", NULL, NULL, false, true);
	} else {
		add_module(r, "service", NULL, NULL, false, true);
	}
	if (c->http_port != 0 || c->admin_port != 0 || c->admin_unix != NULL) {
		add_module(r, "http_admin", NULL, NULL, true, true);
	}
}

/* A word that is nearly one of those that are built in is a mistake, unless its module is named. */
static const char *nearly_built_in(const char *transport)
{
	static const char *const words[] = {"ws", "wss", "tcp", "tls", "tcp+ws", "tls+wss", "unix"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t d = ob__conf_distance(transport, words[i]);
		if (d <= SUGGEST_DISTANCE && d < strlen(transport) && d < strlen(words[i])) {
			return words[i];
		}
	}
	return NULL;
}

/* The module of a listener's transport is loaded, named or not. */
static void imply_transports(struct reading *r)
{
	struct ob__nodeconf *c = r->c;
	size_t first = c->listens_len - json_array_size(json_object_get(c->root, "listen"));
	char module[OB__HELLO_NAME + 16];
	char text[256];
	char path[64];

	for (size_t i = first; i < c->listens_len; i++) {
		const char *word = c->listens[i].transport;
		if (word == NULL || ob__listen_kind(word) != 0) {
			continue;
		}
		snprintf(path, sizeof(path), "listen[%zu].transport", i - first);
		if (!word_ok(word) || strchr(word, '.') != NULL) {
			wrong(r, path, "must be letters, digits, '_' or '-', or one with a +");
			continue;
		}
		snprintf(module, sizeof(module), "transport_%.63s", word);
		const char *near = nearly_built_in(word);
		if (find_module(c, module) != NULL) {
			continue;
		}
		if (near == NULL) {
			add_module(r, module, NULL, NULL, false, true);
			continue;
		}
		snprintf(text, sizeof(text),
		         "\"%.63s\" is not built in; did you mean \"%s\"? (A module that offers it "
		         "is to be named in `modules`: %.80s)",
		         word, near, module);
		wrong(r, path, text);
	}
}

static void read_modules(struct reading *r, const char *const *extra, size_t extra_len)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = json_object_get(c->root, "modules");
	const json_t *dirs = json_object_get(c->root, "module_dirs");

	if (list != NULL) {
		read_module_list(r, list);
	} else {
		imply_modules(r);
	}
	imply_transports(r);
	for (size_t i = 0; i < c->listens_len; i++) {
		char codec[OB__HELLO_NAME + 8];
		snprintf(codec, sizeof(codec), "codec_%s", c->listens[i].codec);
		if (find_module(c, codec) == NULL) {
			add_module(r, codec, NULL, NULL, false, true);
		}
	}
	for (size_t i = 0; i < extra_len; i++) {
		bool path = is_path(extra[i]);
		add_module(r, path ? NULL : extra[i], path ? extra[i] : NULL, NULL, false, false);
	}
	c->module_dirs = calloc(json_array_size(dirs) + 1, sizeof(*c->module_dirs));
	for (size_t i = 0; c->module_dirs != NULL && i < json_array_size(dirs); i++) {
		c->module_dirs[c->module_dirs_len++] = json_string_value(json_array_get(dirs, i));
	}
}

struct ob__nodeconf *ob__nodeconf_load_kept(const char *path, const char *kept,
                                            const char *const *extra, size_t extra_len,
                                            ob__conf_report report, void *arg)
{
	struct ob__nodeconf *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		return NULL;
	}
	struct reading r = {.c = c, .report = report, .arg = arg};

	c->path = strdup(path);
	c->file = ob__conf_load(kept, report, arg);
	if (c->path == NULL || c->file == NULL || ob__conf_set_home(c->file, path) != 0) {
		goto fail;
	}
	if (ob__conf_check(c->file, ob__nodeconf_rows, report, arg) > 0) {
		goto fail;
	}
	c->root = ob__conf_root(c->file);
	read_node(&r);
	read_limits(&r);
	read_resume(&r);
	read_listens(&r);
	read_http(&r);
	read_rpc(&r);
	read_modules(&r, extra, extra_len);
	if (r.errors > 0) {
		goto fail;
	}
	return c;
fail:
	ob__nodeconf_free(c);
	return NULL;
}

struct ob__nodeconf *ob__nodeconf_load(const char *path, const char *const *extra, size_t extra_len,
                                       ob__conf_report report, void *arg)
{
	return ob__nodeconf_load_kept(path, path, extra, extra_len, report, arg);
}

void ob__nodeconf_free(struct ob__nodeconf *c)
{
	if (c == NULL) {
		return;
	}
	for (size_t i = 0; i < c->listens_len; i++) {
		ob__listen_conf_free(&c->listens[i]);
	}
	for (size_t i = 0; i < c->modules_len; i++) {
		free(c->modules[i].name);
		free(c->modules[i].path);
		json_decref(c->modules[i].conf);
	}
	for (size_t i = 0; i < c->states_len; i++) {
		free(c->states[i].ids);
	}
	free(c->states);
	ob__idrange_free(&c->filters.timeouts);
	ob__idrange_free(&c->policy_range);
	free(c->choosers);
	ob__idrange_free(&c->sticky);
	for (size_t i = 0; i < c->remotes_len; i++) {
		free(c->remotes[i].host_text);
	}
	free(c->listens);
	free(c->remotes);
	free(c->rpc_listens);
	free(c->rpc_host_text);
	free(c->rpc_tokens);
	free(c->serve);
	free(c->modules);
	free(c->module_dirs);
	free(c->path);
	ob__conf_free(c->file);
	free(c);
}

struct overlap {
	const struct ob__nodeconf *c;
	const char *(*word)(void *arg, uint32_t id);
	void *word_arg;
	ob__conf_report report;
	void *arg;
};

static void warn_overlap(const struct ob__idrange_span *winner,
                         const struct ob__idrange_span *loser, bool special, void *arg)
{
	struct overlap *o = arg;

	ob__conf_complain(o->c->file, o->report, o->arg, OB__CONF_WARNING,
	                  special ? "rpc.route.special" : "rpc.route.range",
	                  "[%u, %u] of %s and [%u, %u] of %s overlap; %s wins", loser->lo,
	                  loser->hi, o->word(o->word_arg, loser->value), winner->lo, winner->hi,
	                  o->word(o->word_arg, winner->value), o->word(o->word_arg, winner->value));
}

static int add_role(struct ob__idrange *t, uint32_t role, const json_t *ranges, bool special)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < json_array_size(ranges); i++) {
		const json_t *item = json_array_get(ranges, i);
		if (special) {
			rc = ob__idrange_add_special(t, (uint32_t)json_integer_value(item), role);
		} else {
			rc = ob__idrange_add(
				t, (uint32_t)json_integer_value(json_array_get(item, 0)),
				(uint32_t)json_integer_value(json_array_get(item, 1)), role);
		}
	}
	return rc;
}

struct ob__idrange *ob__nodeconf_routes(const struct ob__nodeconf *c,
                                        uint32_t (*role_id)(void *arg, const char *word),
                                        const char *(*role_word)(void *arg, uint32_t id),
                                        void *id_arg, ob__conf_report report, void *arg)
{
	static const char *const paths[] = {"rpc.route.range", "rpc.route.special"};
	struct ob__idrange *t = calloc(1, sizeof(*t));
	if (t == NULL) {
		return NULL;
	}
	ob__idrange_init(t);
	for (int special = 0; special < 2; special++) {
		const char *word;
		json_t *ranges;
		json_object_foreach ((json_t *)(uintptr_t)ob__conf_get(c->root, paths[special]),
		                     word, ranges) {
			uint32_t role = word_ok(word) ? role_id(id_arg, word) : 0;
			if (role == 0 || add_role(t, role, ranges, special == 1) != 0) {
				ob__conf_complain(c->file, report, arg, OB__CONF_ERROR,
				                  paths[special], "can't take the role \"%s\"",
				                  word);
				goto fail;
			}
		}
	}
	struct overlap o = {c, role_word, id_arg, report, arg};
	if (ob__idrange_seal(t, warn_overlap, &o) == 0) {
		return t;
	}
fail:
	ob__idrange_free(t);
	free(t);
	return NULL;
}
