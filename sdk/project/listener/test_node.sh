#!/bin/sh
# @NAME@ in a real node: clients come to its port, also while it is replaced.
. "${srcdir:-.}/test/node.sh"
need obbench "$OBBENCH"

start_node test '
  "type": "test",
  "modules": ["proxy", {"name": "http_admin", "admin": true}, "codec_obespoir",
              {"name": "@NAME@", "conf": {"port": PORT1}}]'

ask() {
	"$OBBENCH" -n 1000 -c 10 -i 1100 --body '{}' --check-code "127.0.0.1:$port1" ||
		fail "messages were not answered"
}

ask
# Connections that were there before go on, and newcomers find the port open.
"$OBBENCH" -n 20000 -c 50 -d 4 -i 1100 --body '{}' --check-code "127.0.0.1:$port1" \
	>"$tmp/load" 2>&1 &
load=$!
for _ in 1 2 3 4 5; do
	swap @NAME@
	ask >/dev/null
done
wait "$load" || fail "under load: $(cat "$tmp/load")"
cat "$tmp/load"
stop_node "$pid"
