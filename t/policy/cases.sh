#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# The table of cases in docs/hot-swap.md: every number from 1 to 52 is there once, with tests that
# exist, or with the reason why it is not run.
. "$(dirname "$0")/lib.sh"
make_tmp
cd "$OB_SRCDIR" || exit 1
doc=docs/hot-swap.md

sed -n '/^## The 52 cases/,$p' "$doc" | grep '^| [0-9]' >"$tmp/rows"
sed 's/^| \([0-9]*\) |.*/\1/' "$tmp/rows" >"$tmp/numbers"
i=1
while [ $i -le 52 ]; do
	echo $i
	i=$((i + 1))
done >"$tmp/wanted"
result "every number from 1 to 52 has a row" "$(diff "$tmp/wanted" "$tmp/numbers")"

# Titles may be broken over lines in their source: '" NEWLINE INDENT "'.
joined() {
	awk '{ text = text $0 "\n" }
	END { gsub(/"\n[ \t]*f?"/, "", text); printf "%s", text }' "$1"
}

missing=
none=
while IFS='|' read -r _ number _ tests; do
	case $tests in
	*" reason: "*) continue ;;
	*'"'*) ;;
	*) none="$none
$number: neither a test nor a reason" ;;
	esac
	echo "$tests" | grep -o '`t/[^`]*` "[^"]*"' >"$tmp/named"
	while read -r named; do
		file=$(echo "$named" | sed 's/^`\([^`]*\)`.*/\1/')
		title=$(echo "$named" | sed 's/^[^"]*"\(.*\)"$/\1/')
		if [ ! -f "$file" ]; then
			missing="$missing
$number: no such file: $file"
		elif ! joined "$file" | grep -q -F -e "$title"; then
			missing="$missing
$number: $file has no test \"$title\""
		fi
	done <"$tmp/named"
done <"$tmp/rows"
result "each row names a test, or says why there is none" "$none"
result "the tests that are named exist" "$missing"
plan_done
