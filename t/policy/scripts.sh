#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# The shell scripts parse, and shellcheck has nothing to say about them.
. "$(dirname "$0")/lib.sh"
cd "$OB_SRCDIR" || exit 1
scripts=$(find scripts .ci debian t/policy t/fuzz t/system t/skip.sh autogen.sh -type f |
	while read -r file; do
		case $(head -n 1 "$file" 2>/dev/null | tr -d '\0') in
		'#!/bin/sh'* | '#!/bin/bash'* | '#!/usr/bin/env bash'*) echo "$file" ;;
		esac
	done | LC_ALL=C sort)

found=
for script in $scripts; do
	shell=$(sed -n '1s/^#!\(.*\)/\1/p' "$script")
	# shellcheck disable=SC2086 # "env bash" is two words
	out=$($shell -n "$script" 2>&1) || found="$found$script: $out
"
	[ -x "$script" ] || case $script in t/*) ;; *) found="$found$script is not executable
" ;; esac
done
result "every script parses" "$found"

if command -v shellcheck >/dev/null 2>&1; then
	# SC1091: the sourced lib.sh is found at run time. SC2154, SC2034: its variables.
	# shellcheck disable=SC2086 # file names without blanks
	result "shellcheck" "$(shellcheck -S warning -e SC1091,SC2154,SC2034 -f gcc $scripts 2>&1)"
else
	skip "shellcheck" "not installed"
fi
plan_done
