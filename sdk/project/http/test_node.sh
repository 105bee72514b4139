#!/bin/sh
# @NAME@ in a real node: it answers HTTP, and does so after it was replaced.
. "${srcdir:-.}/test/node.sh"

start_node test '
  "type": "test",
  "modules": ["service", {"name": "http_admin", "admin": true}, "@NAME@"]'

ask() {
	{ get /@NAME@/ada >"$tmp/answer" && grep -q '"hello": *"ada"' "$tmp/answer"; } ||
		fail "GET /@NAME@/ada: $(cat "$tmp/answer")"
	{ get /@NAME@ -d 12345 >"$tmp/answer" && grep -q '"bytes": *5' "$tmp/answer"; } ||
		fail "POST /@NAME@: $(cat "$tmp/answer")"
	get /@NAME@/ -f >/dev/null 2>&1 && fail "GET /@NAME@/ should be 404"
}

ask
swap @NAME@
ask
stop_node "$pid"
