#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# A plugin from outside the tree builds with nothing but `pkg-config --cflags obhost`: the one below,
# in C and C++, each of examples/, and what `obhost new` makes of each kind, as C and as C++.
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
	value=$(sed -n 's/^abi_major=//p' "$OB_BUILDDIR/$pc.pc")
	[ "$value" = "${abi%.*}" ] || found="$found$pc.pc: abi_major is $value
"
done
result "the .pc files name the header's ABI" "$found"

# What authors ask pkg-config for is there, in the build tree.
found=
for variable in moduledir exampledir projectdir aclocaldir; do
	value=$("$pkg_config" --variable=$variable obhost)
	[ -d "$value" ] || found="$found$variable is \"$value\", no folder
"
done
[ -r "$("$pkg_config" --variable=aclocaldir obhost)/obhost.m4" ] || found="${found}no obhost.m4"
result "the variables of obhost-uninstalled.pc lead somewhere" "$found"
found=
for variable in moduledir exampledir projectdir aclocaldir abi abi_major; do
	grep -q "^$variable=." "$OB_BUILDDIR/obhost.pc" || found="$found$variable is missing
"
done
result "obhost.pc has the same variables" "$found"

# plugin NAME SOURCE [COMPILER FLAGS]: builds it in a folder of its own and looks for its one symbol.
plugin() {
	# shellcheck disable=SC2086 # flags are words
	if ! out=$(cd "$tmp" && ${3:-$OB_CC} -shared -fPIC -Wall -Wextra -Werror $flags "$2" -o "$1.so" 2>&1); then
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
	grep -q '^OB_MODULE(' "$source" || continue # a part of one
	name=${source##*/}
	result "examples/$name" "$(plugin "${name%.c}" "$source")"
done

# Hidden, not unique, and without what a hook leaves out: the flags that obhost.m4 finds for C++.
cxx="${OB_CXX-} -std=c++20 -fvisibility=hidden -Wno-missing-field-initializers -Wno-unused-parameter"
case ${OB_CXX-} in
*clang*) ;;
*) cxx="$cxx -fno-gnu-unique" ;;
esac
cat >"$tmp/greet.cc" <<'SOURCE'
#include <string>

#include <obhost/obhost.h>

static void greet(ob_ctx *ctx, ob_req req)
{
	const char *name = ob_req_str(ctx, req, "name");
	std::string text = std::string("hello ") + (name ? name : "stranger");

	ob_reply_json(ctx, req, "{s:i, s:s}", "code", 200, "text", text.c_str());
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 5000, greet);
}

OB_MODULE(greet, .version = "1.0.0", .start = start);
SOURCE
if [ -n "${OB_CXX-}" ]; then
	result "a plugin in C++" "$(plugin greet "$tmp/greet.cc" "$cxx")"
else
	skip "a plugin in C++" "no C++ compiler"
fi

OBHOST_PROJECT_DIR=$OB_SRCDIR/sdk/project
export OBHOST_PROJECT_DIR
for kind in handler http codec listener policy transport; do
	name=my_$kind
	[ "$kind" != codec ] || name=codec_my
	out=$("$OB_OBHOST" new "$name" --kind "$kind" --dir "$tmp" --author 'Ada "the first" O'"'"'Neill' 2>&1) || {
		result "obhost new --kind $kind" "$out"
		continue
	}
	source=$tmp/$name/src/$name.c
	result "obhost new --kind $kind, as C" "$(plugin "$name" "$source" "$OB_CC -Wno-unused-parameter")"
	if [ -n "${OB_CXX-}" ]; then
		result "obhost new --kind $kind, as C++" "$(plugin "$name" "$source" "$cxx -x c++")"
	else
		skip "obhost new --kind $kind, as C++" "no C++ compiler"
	fi
	result "no word of the templates is left" "$(grep -rn '@[A-Z_]*@' "$tmp/$name")"
	if command -v shellcheck >/dev/null 2>&1; then
		result "its scripts" "$(cd "$tmp/$name" && shellcheck -x -e SC1091,SC2154 autogen.sh test/*.sh 2>&1)"
	else
		skip "its scripts" "no shellcheck"
	fi
done

# refused STATUS WORD ARGUMENT...: obhost new says no, with that word in it, and leaves nothing.
refused() {
	status=$1 word=$2
	shift 2
	before=$(ls -A "$tmp")
	out=$(cd "$tmp" && "$OB_OBHOST" new "$@" 2>&1)
	got=$?
	[ "$got" = "$status" ] || echo "exit status $got, expected $status: $out"
	case $out in
	*"$word"*) ;;
	*) echo "it does not say \"$word\": $out" ;;
	esac
	[ "$(ls -A "$tmp")" = "$before" ] || echo "it left something behind"
}

result "new: no name" "$(refused 2 'NAME is missing')"
result "new: two names" "$(refused 2 'several NAMEs' one two)"
result "new: help" "$(refused 0 usage: --help)"
for bad in '' Hello 1st he-llo a/b .. _x 'a b' "$(printf 'a%040d' 0)"; do
	result "new: the name \"$bad\"" "$(refused 2 'no name for a module' "$bad")"
done
result "new: a name of obhost's own" "$(refused 2 "obhost's own" proxy)"
result "new: a codec of another name" "$(refused 2 'obhost new codec_lines --kind codec' lines --kind codec)"
result "new: an unknown kind" "$(refused 2 'handler, codec, policy' x --kind plugin)"
result "new: an author of two lines" "$(refused 2 'control characters' x --author "$(printf 'a\nb')")"
result "new: an author who ends comments" "$(refused 2 '--author' x --author 'a */ b')"
result "new: it exists" "$(refused 1 'choose another name' my_handler)"
result "new: no such directory" "$(refused 1 'make the directory first' x --dir nowhere)"
result "new: no templates" "$(refused 1 '--templates or $OBHOST_PROJECT_DIR' x --templates /nonexistent)"
plan_done
