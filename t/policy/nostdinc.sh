#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# With a module's flags nothing of the tree but the SDK is in the search path, and every module of
# the tree is built with these flags.
. "$(dirname "$0")/lib.sh"
[ -n "${OB_CC-}" ] || skip_all "run it by make check TESTS=t/policy/nostdinc.sh"
make_tmp

# compiles INCLUDE FLAGS
compiles() {
	printf '#include <obhost/obhost.h>\n#include %s\nextern int ob_policy;\n' "$1" >"$tmp/module.c"
	# shellcheck disable=SC2086 # flags are words
	$OB_CC $2 -fsyntax-only "$tmp/module.c" >"$tmp/log" 2>&1
}

if compiles '<stdint.h>' "$OB_SDK_CPPFLAGS"; then
	result "a module compiles with its flags"
else
	result "a module compiles with its flags" "$(cat "$tmp/log")"
fi
if compiles '"lib/buf.h"' "$OB_CORE_CPPFLAGS"; then
	result "the host's flags find lib/buf.h"
else
	result "the host's flags find lib/buf.h" "$(cat "$tmp/log")"
fi
for include in lib/buf.h core/lib/buf.h base/log.h core/base/log.h config.h; do
	if compiles "\"$include\"" "$OB_SDK_CPPFLAGS"; then
		result "a module can't include $include" "it compiled"
	else
		result "a module can't include $include"
	fi
done

# declares MODULE: its folder's Makefile.inc names libraries (layers.sh).
declares() {
	name=${1##*/}
	grep -q '^# libraries: ' "$OB_SRCDIR/modules/${name%.la}/Makefile.inc" 2>/dev/null
}

bad=
for la in $OB_MODULES; do
	variable=$(printf '%s' "$la" | tr -c 'A-Za-z0-9_' _)
	for pair in 'CPPFLAGS MOD_CPPFLAGS' 'LDFLAGS MOD_LDFLAGS'; do
		kind=${pair% *}
		line=$(grep "^${variable}_$kind *=" "$OB_BUILDDIR/Makefile")
		case $line in
		*"= \$(${pair#* })") ;;
		*"= \$(MOD_CPPFLAGS) \$("*"FLAGS)") declares "$la" || bad="$bad$la: ${variable}_$kind has more flags, and no library is declared
" ;;
		*) bad="$bad$la: ${variable}_$kind is not \$(${pair#* })
" ;;
		esac
	done
done
result "every module is built with MOD_CPPFLAGS and MOD_LDFLAGS" "$bad"
result "no -I of automake's own (nostdinc)" "$(grep '^DEFAULT_INCLUDES *=.*-I' "$OB_BUILDDIR/Makefile")"
plan_done
