#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# What git tracks: no generated file, no binary but fuzz inputs, no path of one machine, no open
# end without a reason. OB_TREE names the checkout when the tests run on a copy of it.
. "$(dirname "$0")/lib.sh"
tree=${OB_TREE:-$OB_SRCDIR}
command -v git >/dev/null 2>&1 || skip_all "no git"
tree=$(cd "$tree" && pwd -P) || exit 1
[ -e "$tree/.git" ] || skip_all "not a git checkout"
cd "$tree" || exit 1
in_git() {
	git -c safe.directory="$tree" -c core.quotePath=false "$@"
}
files=$(in_git ls-files) || skip_all "git can't read this checkout"
[ -n "$files" ] || skip_all "nothing is tracked yet"

result "no generated file is tracked" "$(printf '%s\n' "$files" | grep -E \
	-e '(^|/)(Makefile|Makefile\.in|configure|configure~|aclocal\.m4|config\.(h|h\.in|log|status)|libtool|stamp-h1)$' \
	-e '(^|/)(autom4te\.cache|build-aux|\.deps|\.libs|__pycache__|node_modules)/' \
	-e '^m4/(libtool|lt[a-z~]+)\.m4$' \
	-e '\.(o|lo|la|a|so|pyc|trs|log|gcda|gcno|tar\.(gz|xz))$' \
	-e '^obhost(-mock)?(-uninstalled)?\.pc$')"

empty=$(in_git hash-object -t tree /dev/null)
result "no binary is tracked but fuzz inputs" "$(in_git diff --cached --numstat "$empty" -- |
	awk -F '\t' '$1 == "-" && $3 !~ /^t\/fuzz\/corpus_/ { print $3 }')"

text() {
	in_git grep -nIE "$1" -- ':!t/fuzz/corpus_*'
}
# The words are written so that this file does not find itself.
result "no open end without a reason in brackets" \
	"$(text '\b(TO''DO|FIX''ME|X''XX)\b' | grep -vE '(TO''DO|FIX''ME|X''XX)\([^)]+\)')"
result "no path of one machine" \
	"$(text '(^|[^A-Za-z0-9_.$}/-])/(home|root|Users|workspace|work)/[A-Za-z0-9_.-]')"
result "no trailing blanks" "$(text '[[:blank:]]+$' | grep -v '\.md:')"
result "the licence is named in every source file" "$(printf '%s\n' "$files" |
	grep -v '^sdk/project/' | grep -E '\.(c|h|py)$|Makefile\.(am|inc)$|^configure\.ac$|\.m4$' |
	while read -r file; do
		[ ! -s "$file" ] || head -n 5 "$file" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' || echo "$file"
	done)"
plan_done
