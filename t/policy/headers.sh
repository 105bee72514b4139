#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# Every header compiles alone: it includes what it needs and warns about nothing. The SDK's headers
# do so as C and as C++.
. "$(dirname "$0")/lib.sh"
[ -n "${OB_CC-}" ] || skip_all "run it by make check TESTS=t/policy/headers.sh"
make_tmp

# alone COMPILER FLAGS LANGUAGE HEADER: the compiler's words, or "failed", if it does not compile.
alone() {
	# Twice: the include guard works.
	printf '#include "%s"\n#include "%s"\nextern int ob_policy;\n' "$4" "$4" >"$tmp/alone.$3"
	# shellcheck disable=SC2086 # flags are words
	if ! out=$($1 $2 -fsyntax-only "$tmp/alone.$3" 2>&1); then
		echo "${out:-failed}"
	fi
}

bad=
for header in $(cd "$OB_SRCDIR" && find core -name '*.h' | LC_ALL=C sort); do
	out=$(alone "$OB_CC" "-std=gnu11 $OB_WARN -Werror $OB_CORE_CPPFLAGS" c "$OB_SRCDIR/$header")
	[ -z "$out" ] || bad="$bad$header does not stand alone:
$out
"
done
result "each header of core/ compiles alone" "$bad"

# compiles COMPILER FLAGS FILE: as alone.
compiles() {
	# shellcheck disable=SC2086 # flags are words
	if ! out=$($1 $2 -c -o "$tmp/out.o" "$3" 2>&1); then
		echo "${out:-failed}"
	fi
}

bad='' cxx=
for file in "$OB_SRCDIR"/clients/c/*.c; do
	bad=$bad$(compiles "$OB_CC" "-std=gnu11 -Wall -Wextra -Werror" "$file")
	[ -z "${OB_CXX-}" ] || cxx=$cxx$(compiles "$OB_CXX" "-x c++ -std=c++17 -Wall -Wextra -Werror" "$file")
done
result "clients/c compiles without the tree" "$bad"
if [ -n "${OB_CXX-}" ]; then
	result "clients/c compiles as C++" "$cxx"
else
	skip "clients/c compiles as C++" "no C++ compiler"
fi
header=$OB_SRCDIR/clients/c/obhost_client.h
result "<obhost_client.h> compiles alone as C11" "$(alone "$OB_CC" "-std=c11 -pedantic -Wall -Wextra -Werror" c "$header")"

for name in obhost mock; do
	sdk=$OB_SRCDIR/include/obhost/$name.h
	result "<obhost/$name.h> compiles alone as C11" \
		"$(alone "$OB_CC" "-std=c11 -Wall -Wextra -Werror $OB_SDK_CPPFLAGS" c "$sdk")"
	if [ -n "${OB_CXX-}" ]; then
		result "<obhost/$name.h> compiles alone as C++" \
			"$(alone "$OB_CXX" "-std=c++17 -Wall -Wextra -Werror $OB_SDK_CPPFLAGS" cc "$sdk")"
	else
		skip "<obhost/$name.h> compiles alone as C++" "no C++ compiler"
	fi
done
plan_done
