#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# Each module exports ob_module and nothing else and knows no event loop; the executable exports
# nothing of ours, so a module can't come to depend on it by name.
. "$(dirname "$0")/lib.sh"
[ -n "${OB_MODULES-}" ] || skip_all "run it by make check TESTS=t/policy/exports.sh"
nm=${OB_NM:-nm}

# Names a shared object or executable offers to others, without the linker's marks, copies of a
# library's data (NAME@VERSION) and what a sanitizer puts in.
exports() {
	"$nm" -D --defined-only "$1" | awk -v sanitize="${OB_SANITIZE-}" '
		$NF ~ /@/ { next }
		$NF ~ /^(_init|_fini|_end|end|_edata|edata|_etext|etext|__bss_start|__data_start)$/ { next }
		$NF ~ /^(data_start|_start|_IO_stdin_used|__dso_handle|__gcov_.*|__llvm_.*)$/ { next }
		sanitize != "" && $NF !~ /^_?_?ob_/ && $NF != "main" { next }
		{ print $NF }'
}

for la in $OB_MODULES; do
	name=${la##*/}
	so=$OB_BUILDDIR/${la%/*}/.libs/${name%.la}.so
	if [ ! -e "$so" ]; then
		result "${la%.la}" "$so is missing"
		continue
	fi
	found=$(exports "$so")
	[ "$found" = ob_module ] && found= || found="exports: ${found:-nothing}"
	if "${OB_READELF:-readelf}" -d "$so" | grep -q 'NEEDED.*\[libuv'; then
		found="$found links libuv"
	fi
	result "${la%.la} exports ob_module only, links no libuv" "$found"
done
result "obhost exports nothing of ours" "$(exports "$OB_OBHOST" | head -n 20)"
case $(head -c 2 "$OB_OBHOST") in
'#!') result "obhost in the build tree is the program itself" "it is a libtool wrapper" ;;
*) result "obhost in the build tree is the program itself" ;;
esac
plan_done
