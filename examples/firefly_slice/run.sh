#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# run.sh [BUILD]: net, gate and game, from a build tree (the folder where configure ran; the top of
# the source by default). Clients connect to 127.0.0.1:11009; play.py is one. Accounts and characters
# are kept in $SLICE_DATA, a folder that goes at the end unless it is named. Ctrl-C ends it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-$here/../..}" && pwd)

if [ ! -x "$build/obhost" ]; then
	echo "run.sh: there is no obhost in $build; configure and make it first, or name another folder" >&2
	exit 2
fi
SLICE_STATE=$(mktemp -d)
SLICE_DATA=${SLICE_DATA:-$SLICE_STATE/data}
SLICE_MODULES=$build/modules/.libs
SLICE_EXAMPLES=$build/examples/.libs
export SLICE_STATE SLICE_DATA SLICE_MODULES SLICE_EXAMPLES
mkdir -p "$SLICE_DATA"
pids=
end() {
	trap - EXIT INT TERM
	# shellcheck disable=SC2086 # one word each
	[ -z "$pids" ] || kill $pids 2>/dev/null || :
	wait
	rm -rf "$SLICE_STATE"
}
trap end EXIT
trap 'exit 0' INT TERM
for node in gate game net; do
	"$build/obhost" -c "$here/$node.conf" &
	pids="$pids $!"
done
echo "127.0.0.1:11009, data in $SLICE_DATA"
wait
