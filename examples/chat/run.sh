#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# run.sh [BUILD]: the chat room, from a build tree (the folder where configure ran; the top of the
# source by default). Then open http://127.0.0.1:8080/, twice. Ctrl-C ends it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-$here/../..}" && pwd)

if [ ! -x "$build/obhost" ]; then
	echo "run.sh: there is no obhost in $build; configure and make it first, or name another folder" >&2
	exit 2
fi
CHAT_STATE=$(mktemp -d)
trap 'rm -rf "$CHAT_STATE"' EXIT
CHAT_MODULES=$build/modules/.libs
CHAT_EXAMPLES=$build/examples/.libs
CHAT_PAGE=$here/page
CHAT_CLIENT=$here/../../clients/js/obhost.js
export CHAT_STATE CHAT_MODULES CHAT_EXAMPLES CHAT_PAGE CHAT_CLIENT
echo "http://127.0.0.1:8080/"
"$build/obhost" -c "$here/chat.conf"
