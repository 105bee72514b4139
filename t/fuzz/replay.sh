#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# Runs each fuzz target on each file of its corpus: one TAP line per target. Works the same for
# targets linked with replay.c and with libFuzzer.
set -u
set -- $OB_FUZZ_TARGETS
echo "1..$#"
n=0
for target; do
	n=$((n + 1))
	name=${target##*/fuzz_}
	corpus=$OB_SRCDIR/t/fuzz/corpus_$name
	count=$(find "$corpus" -type f 2>/dev/null | wc -l)
	if [ "$count" -eq 0 ]; then
		echo "not ok $n - $name: no corpus in $corpus"
		continue
	fi
	if out=$(find "$corpus" -type f -exec "./$target" {} + 2>&1 </dev/null); then
		echo "ok $n - $name: $count inputs"
	else
		echo "not ok $n - $name: $count inputs"
		printf '%s\n' "$out" | tail -n 60 | sed 's/^/# /'
	fi
done
