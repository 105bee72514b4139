#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# A plugin from outside the tree builds with nothing but `pkg-config --cflags obhost`: the one below
# and each of examples/.
. "$(dirname "$0")/lib.sh"
[ -n "${OB_CC-}" ] || skip_all "run it by make check TESTS=t/policy/sdk_outoftree.sh"
make_tmp
PKG_CONFIG_PATH=$OB_BUILDDIR${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
pkg_config=${OB_PKG_CONFIG:-pkg-config}

flags=$("$pkg_config" --cflags obhost 2>&1) || {
	result "pkg-config finds obhost in the build tree" "$flags"
	plan_done
	exit 0
}
result "pkg-config finds obhost in the build tree"

header=$OB_SRCDIR/include/obhost/obhost.h
number() {
	sed -n "s/^#[[:blank:]]*define[[:blank:]]*$1[[:blank:]]*\([0-9]*\).*/\1/p" "$header"
}
abi=$(number OB_ABI_MAJOR).$(number OB_ABI_MINOR)
found=
for pc in obhost obhost-uninstalled; do
	value=$(sed -n 's/^abi=//p' "$OB_BUILDDIR/$pc.pc")
	[ "$value" = "$abi" ] || found="$found$pc.pc says $value, the header $abi: run ./config.status --recheck
"
done
result "the .pc files name the header's ABI" "$found"

# plugin NAME SOURCE: builds it in a folder of its own and looks for its one symbol.
plugin() {
	# shellcheck disable=SC2086 # flags are words
	if ! out=$(cd "$tmp" && $OB_CC -shared -fPIC -Wall -Wextra -Werror $flags "$2" -o "$1.so" 2>&1); then
		echo "$out"
	elif ! "${OB_NM:-nm}" -D --defined-only "$tmp/$1.so" | grep -q ' ob_module$'; then
		echo "$1.so has no ob_module"
	fi
}

cat >"$tmp/hello.c" <<'SOURCE'
#include <obhost/obhost.h>

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)ctx;
	(void)conf;
	return 0;
}

OB_MODULE(hello, .version = "1.0.0", .start = start);
SOURCE
result "a plugin written from the manual" "$(plugin hello "$tmp/hello.c")"
for source in "$OB_SRCDIR"/examples/*/*.c; do
	name=${source##*/}
	result "examples/$name" "$(plugin "${name%.c}" "$source")"
done
plan_done
