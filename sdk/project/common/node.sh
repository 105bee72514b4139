# shellcheck shell=sh
# Real nodes for test_node.sh, which sources this. They run on free ports of this machine, keep
# their files in a scratch folder, and are gone when the test ends, however it ends.

[ -n "${OBHOST-}" ] || { echo "SKIP: no obhost program"; exit 77; }
[ -n "${CURL-}" ] || { echo "SKIP: no curl"; exit 77; }
here=$(pwd)
tmp=$(mktemp -d) || exit 1
nodes=
attempt=0 # ports that were tried; the next node has others

cleanup() {
	for pid in $nodes; do
		kill "$pid" 2>/dev/null
	done
	wait
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# fail WORDS: the test has failed; shows what the nodes have said.
fail() {
	echo "FAIL: $*"
	tail -n 20 "$tmp"/*.log
	exit 1
}

# need PROGRAM [PATH]: skips the test without it.
need() {
	[ -n "${2-}" ] || { echo "SKIP: no $1"; exit 77; }
}

# write_conf NAME MEMBERS: a node's configuration; $port is the port of its administration.
write_conf() {
	cat >"$tmp/$1.conf" <<CONF
{
  "name": "$1",
  "host": "127.0.0.1",
  "state_dir": "$tmp/state",
  "module_dirs": ["$here/.libs", "$OBHOST_MODULE_PATH", "$OBHOST_EXAMPLE_PATH"],
  "http": {"port": $port},
  $2
}
CONF
}

# ready PID: waits until the node answers; it, and not another one that has its port.
ready() {
	tries=0
	while [ "$tries" -lt 200 ]; do
		"$CURL" -s "http://127.0.0.1:$port/node" | grep -q "\"pid\": *$1," &&
			"$CURL" -sf "http://127.0.0.1:$port/readyz" >/dev/null && return 0
		kill -0 "$1" 2>/dev/null || return 1
		sleep 0.1
		tries=$((tries + 1))
	done
	fail "the node is not ready after 20 seconds"
}

# start_node NAME MEMBERS: starts a node; MEMBERS are those of its configuration, with PORT1 to
# PORT3 where it wants ports. Sets $pid, $port, and $port1 to $port3. Somebody may have one of the
# ports: then others are tried.
start_node() {
	last=$((attempt + 20))
	while [ "$attempt" -lt "$last" ]; do
		port=$((20000 + ($$ * 7 + attempt * 1013) % 10000))
		attempt=$((attempt + 1))
		port1=$((port + 1)) port2=$((port + 2)) port3=$((port + 3))
		write_conf "$1" "$(echo "$2" | sed "s/PORT1/$port1/g; s/PORT2/$port2/g; s/PORT3/$port3/g")"
		"$OBHOST" -c "$tmp/$1.conf" >"$tmp/$1.log" 2>&1 &
		pid=$!
		nodes="$nodes $pid"
		ready "$pid" && return 0
		wait "$pid"
		grep -qi 'address .*in use' "$tmp/$1.log" || fail "$1 does not start"
	done
	fail "no free port"
}

# stop_node PID: it must end with 0.
stop_node() {
	kill "$1"
	wait "$1" || fail "the node ended with $?"
}

# get PATH [WORD...]: an HTTP request to the node on $port, with more arguments for curl.
get() {
	path=$1
	shift
	"$CURL" -sS --max-time 20 "$@" "http://127.0.0.1:$port$path"
}

# swap MODULE: exchanges the running module with itself; it must have been switched.
swap() {
	get /modules/reload -X POST -d "{\"name\": \"$1\", \"force\": true}" >"$tmp/answer" ||
		fail "no answer to the reload"
	grep -q '"result": *"switched"' "$tmp/answer" || fail "not switched: $(cat "$tmp/answer")"
}
