#!/bin/sh
# @NAME@ in a real node: it answers, and goes on answering while it is replaced.
. "${srcdir:-.}/test/node.sh"
need obbench "$OBBENCH"

start_node test '
  "type": "test",
  "websocket": {"port": PORT1},
  "modules": ["proxy", {"name": "http_admin", "admin": true}, "@NAME@"]'

# 1000 messages: each must be answered, with code 200.
"$OBBENCH" -n 1000 -c 10 -i 1000 --body '{"name": "ada"}' --check-code "127.0.0.1:$port1" ||
	fail "messages were not answered"

# Numbered messages on 50 connections while it is replaced five times: each answered once, in order,
# and no connection closed.
"$OBBENCH" -n 20000 -c 50 -d 4 -i 1000 --verify --check-code "127.0.0.1:$port1" >"$tmp/load" 2>&1 &
load=$!
for _ in 1 2 3 4 5; do
	swap @NAME@
done
wait "$load" || fail "under load: $(cat "$tmp/load")"
cat "$tmp/load"
stop_node "$pid"
