#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# The reference in docs/configuration.md is the schema's, row for row; conf/reference.conf shows
# every key that has one.
. "$(dirname "$0")/lib.sh"
confdoc=$OB_BUILDDIR/t/confdoc
[ -x "$confdoc" ] || skip_all "t/confdoc is not built: make check TESTS=t/policy/conf_doc.sh"
doc=$OB_SRCDIR/docs/configuration.md
make_tmp

"$confdoc" >"$tmp/schema" || {
	result "the schema prints its reference" "t/confdoc failed"
	plan_done
	exit 0
}
sed -n '/^<!-- reference: begin/,/^<!-- reference: end/p' "$doc" | sed '1d;$d' >"$tmp/doc"
rows=$(grep -c '^| `' "$tmp/schema")
[ "$rows" -gt 50 ] && few= || few="only $rows rows"
result "the schema has its rows" "$few"
found=$(diff -U 0 --label docs/configuration.md --label schema "$tmp/doc" "$tmp/schema" | grep '^[-+]')
[ -z "$found" ] || found="$found
put the output of t/confdoc between the two markers of docs/configuration.md"
result "docs/configuration.md has every row, and no other" "$found"

# The last word of a path, without lists and maps: "listen[].no_state.range[]" has none of its own.
found=$(sed -n 's/^| `\([^`]*\)`.*/\1/p' "$tmp/schema" | grep -v -e '\*' -e '\[\]$' |
	while read -r path; do
		key=${path##*.}
		grep -q -e "\"$key\"" -e "[ ,]${key}[,.]" "$OB_SRCDIR/conf/reference.conf" || echo "$path"
	done)
result "conf/reference.conf names every key" "$found"
plan_done
