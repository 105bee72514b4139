#!/bin/sh
# @NAME@ in a real node: lines go in and come back, also after it was replaced. The plugin echo, one
# of obhost's examples, answers message 30000 with what it got.
. "${srcdir:-.}/test/node.sh"
[ -r "$OBHOST_EXAMPLE_PATH/echo.so" ] || { echo "SKIP: no example echo"; exit 77; }

start_node test '
  "type": "test",
  "listen": [{"transport": "tcp", "codec": "@CODEC@", "port": PORT1}],
  "modules": ["proxy", {"name": "http_admin", "admin": true}, "@NAME@", "echo"]'

ask() {
	test/line_client "$port1" '30000 hello' '30000 ' '30000 again' >"$tmp/answer" ||
		fail "lines were not answered"
	[ "$(cat "$tmp/answer")" = "$(printf '30000 hello\n30000 \n30000 again')" ] ||
		fail "lines: $(cat "$tmp/answer")"
}

ask
swap @NAME@
ask
# What is no line of the protocol closes the connection, and nothing else.
test/line_client "$port1" 'no number' >"$tmp/answer" 2>&1 && fail "a bad line was answered"
ask
stop_node "$pid"
