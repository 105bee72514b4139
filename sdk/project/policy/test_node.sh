#!/bin/sh
# @NAME@ in a real node: it chooses where messages go, also while it is replaced. Two nodes: `back`
# has the plugin echo, one of obhost's examples; `front` has the clients and the policy.
. "${srcdir:-.}/test/node.sh"
need obbench "$OBBENCH"
[ -r "$OBHOST_EXAMPLE_PATH/echo.so" ] || { echo "SKIP: no example echo"; exit 77; }

start_node back '
  "type": "service",
  "rpc": {"port": PORT2, "token": "a secret of this test"},
  "modules": ["service", {"name": "http_admin", "admin": true}, "echo"]'
back=$pid
start_node front '
  "type": "proxy",
  "websocket": {"port": PORT1, "no_state": {"range": [[0, 100000]]}},
  "rpc": {"token": "a secret of this test",
          "route": {"range": {"service": [[30000, 30000]]}},
          "policy": {"service": "@NAME@"}},
  "remote_ports": [{"host": "127.0.0.1", "port": '"$port2"', "type": "service"}],
  "modules": ["proxy", {"name": "http_admin", "admin": true}, "@NAME@"]'

# chosen: how often it has been asked.
chosen() {
	get /metrics | sed -n 's/^obhost_module_choices_total{module="@NAME@"} //p'
}

ask() {
	before=$(chosen)
	"$OBBENCH" -n 1000 -c 10 -i 30000 --verify "127.0.0.1:$port1" || fail "messages were not answered"
	[ "$(chosen)" -gt "$before" ] || fail "the policy was not asked"
}

# Messages wait for a node of the role until their deadline, so nothing waits for the link here.
ask
swap @NAME@
ask
stop_node "$pid"
stop_node "$back"
