#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# What the READMEs tell a newcomer to type exists: in each block marked sh the first word of every
# command is a program of the tree, of the shell, or one of Debian's that is named below, and every
# file of the tree is there. Links between documents lead somewhere.
. "$(dirname "$0")/lib.sh"
make_tmp
cd "$OB_SRCDIR" || exit 1

debian="apt-get cc cp curl git make mkdir python3 sed sudo cat"
shell="cd export kill wait sleep echo"
ours="obhost ./obhost obbench tools/obbench"

# commands FILE: the commands of its sh blocks, one per line, continued lines joined, comments and
# here-documents left out.
commands() {
	awk '
		/^```sh$/ { on = 1; next }
		/^```$/ { on = 0; next }
		!on { next }
		here { if ($0 == here) here = ""; next }
		{
			line = held $0
			held = ""
			if (line ~ /\\$/) { held = substr(line, 1, length(line) - 1); next }
			sub(/(^|[ \t])#.*/, "", line)
			if (match(line, /<<[^A-Za-z]*[A-Z]+/)) {
				here = substr(line, RSTART, RLENGTH)
				gsub(/[^A-Z]/, "", here)
				sub(/<<[^A-Za-z]*[A-Z]+[^A-Za-z0-9]*/, "", line)
			}
			gsub(/\$\([^)]*\)/, "X", line)
			gsub(/\047[^\047]*\047|"[^"]*"/, "X", line)
			gsub(/&&|\|\||[;|&]/, "\n", line)
			print line
		}' "$1" | sed -e 's/^[[:blank:]]*//' -e '/^$/d'
}

# known WORD: a command that a newcomer has once the packages are there.
known() {
	has_word "$1" "$debian $shell $ours" && return 0
	case $1 in
	../configure | ./configure) [ -f configure.ac ] ;;
	/usr/bin/python3) return 0 ;;
	*/*) [ -x "$1" ] ;;
	*) return 1 ;;
	esac
}

# unknown FILE: commands and files of its sh blocks that are not there.
unknown() {
	commands "$1" | while read -r line; do
		set -f
		# shellcheck disable=SC2086 # a line is words
		set -- $line
		while case ${1-} in [A-Z]*=*) true ;; *) false ;; esac do
			shift
		done
		[ $# -gt 0 ] || continue
		known "$1" || echo "no such command: $1"
		for word; do
			case $word in
			bench/* | conf/* | core/* | docs/* | examples/* | include/* | modules/* | scripts/* | t/*)
				[ -e "${word%%:*}" ] || echo "no such file: $word"
				;;
			esac
		done
	done
}

# dead_links FILE: relative links whose file is not there.
dead_links() {
	folder=$(dirname "$1")
	grep -o ']([^)]*)' "$1" | sed -e 's/^](//' -e 's/)$//' -e 's/#.*//' | while read -r link; do
		case $link in
		'' | *://* | mailto:*) ;;
		*) [ -e "$folder/$link" ] || echo "$1: $link" ;;
		esac
	done
}

for readme in README.md README.zh.md; do
	[ "$(commands "$readme" | wc -l)" -gt 5 ] && few= || few="it has hardly any"
	result "$readme has commands to type" "$few"
	result "$readme: what it says to type exists" "$(unknown "$readme")"
done
commands README.md >"$tmp/en"
commands README.zh.md >"$tmp/zh"
result "both READMEs have the same commands" "$(diff -U 0 "$tmp/en" "$tmp/zh")"
dead=
for file in ./*.md docs/*.md modules/*/README.md examples/README.md bench/README.md; do
	out=$(dead_links "$file")
	[ -z "$out" ] || dead="$dead$out
"
done
result "links between documents lead somewhere" "$dead"

# What a document shows of a file, behind a line that names it, is what the file has behind its
# licence.
awk '/^<!-- file: examples\/codec_line\/codec_line.c -->$/ { on = 1; next }
	on == 1 && /^```c$/ { on = 2; next }
	on == 2 && /^```$/ { exit }
	on == 2' docs/clients.md >"$tmp/shown"
sed -e 1,4d examples/codec_line/codec_line.c >"$tmp/file"
result "docs/clients.md shows examples/codec_line as it is" "$(diff -U 0 "$tmp/file" "$tmp/shown")"
plan_done
