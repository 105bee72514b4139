#!/bin/sh
# @NAME@ in real nodes: two that have nothing else between them, also while it is replaced. `back`
# has the plugin echo, one of obhost's examples; `front` has the clients.
. "${srcdir:-.}/test/node.sh"
need obbench "$OBBENCH"
[ -r "$OBHOST_EXAMPLE_PATH/echo.so" ] || { echo "SKIP: no example echo"; exit 77; }
name=test-of-@NAME@-$$

start_node back '
  "type": "service",
  "rpc": {"token": "a secret of this test", "unix": false,
          "listen": [{"transport": "@TRANSPORT@", "address": "'"$name"'"}]},
  "modules": ["service", {"name": "http_admin", "admin": true}, "@NAME@", "echo"]'
back=$pid
start_node front '
  "type": "proxy",
  "websocket": {"port": PORT1, "no_state": {"range": [[0, 100000]]}},
  "rpc": {"token": "a secret of this test", "unix": false,
          "route": {"range": {"service": [[30000, 30000]]}}},
  "remote_ports": [{"transport": "@TRANSPORT@", "address": "'"$name"'", "type": "service"}],
  "modules": ["proxy", {"name": "http_admin", "admin": true}, "@NAME@"]'

ask() {
	"$OBBENCH" -n 1000 -c 10 -i 30000 --verify "127.0.0.1:$port1" || fail "messages were not answered"
	get /peers | grep -q "\"address\": *\"@TRANSPORT@:$name\"" || fail "another link: $(get /peers)"
}

# Messages wait for a node of the role until their deadline, so nothing waits for the link here.
ask
swap @NAME@
ask
stop_node "$pid"
stop_node "$back"
