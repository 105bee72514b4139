#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# TAP for the shell tests of this folder; sourced. Works by hand too, from the top of the tree.
OB_SRCDIR=${OB_SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
OB_BUILDDIR=${OB_BUILDDIR:-$(pwd)}
tap_number=0

skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

# result NAME [FINDINGS]: passes when there are no findings, else shows them as comments.
result() {
	tap_number=$((tap_number + 1))
	if [ -z "${2-}" ]; then
		echo "ok $tap_number - $1"
	else
		echo "not ok $tap_number - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
	fi
}

skip() {
	tap_number=$((tap_number + 1))
	echo "ok $tap_number - $1 # SKIP $2"
}

plan_done() {
	echo "1..$tap_number"
}

# make_tmp: a scratch folder in $tmp, removed at exit.
make_tmp() {
	tmp=$(mktemp -d) || exit 1
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
}

# has_word WORD LIST
has_word() {
	case " $2 " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}
