#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# Runs each fuzz target on inputs made from its corpus, a seed's always the same: one TAP line per
# target. What reads clients' bytes gets 1,000,000 (100,000 with a sanitizer), the rest a tenth; with
# OB_LONG=1 a hundred times as many, on all cores. OB_FUZZ_RUNS is for all targets, OB_FUZZ_SEED
# makes other inputs. The input of a finding is in fuzz-found; the target runs it again:
# t/fuzz/fuzz_NAME FILE.
set -u
seed=${OB_FUZZ_SEED:-1}
clients=" c_wire codec_firefly codec_framed codec_json codec_obespoir codec_obespoir_1 \
codec_obespoir_2 codec_pomelo ws "
case ${OB_LONG:-0} in
'' | 0)
	workers=1
	runs=1000000
	[ -z "${OB_SANITIZE-}" ] || runs=100000
	;;
*)
	workers=$(getconf _NPROCESSORS_ONLN)
	runs=100000000
	;;
esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM

# explore TARGET RUNS PREFIX CORPUS: the first folder is where libFuzzer puts what it keeps.
explore() {
	mkdir -p "$tmp/kept" && rm -f "$tmp"/kept/*
	"./$1" -runs="$2" -seed="$seed" -workers="$workers" -artifact_prefix="$3" "$tmp/kept" "$4" \
		>"$tmp/out" 2>&1 </dev/null
}

# A fault is found, and its input fails again.
planted() {
	mkdir -p "$tmp/corpus" || return 1
	printf '\003\000abc' >"$tmp/corpus/three"
	explore t/fuzz/planted 1000000 "$tmp/found-" "$tmp/corpus" && return 1
	for file in "$tmp"/found-*; do
		[ -f "$file" ] || return 1
		(t/fuzz/planted "$file" || exit 1) >"$tmp/out" 2>&1 && return 1
	done
	return 0
}

# shellcheck disable=SC2086 # a list of words
set -- $OB_FUZZ_TARGETS
echo "1..$(($# + 1))"
if planted; then
	echo "ok 1 - a fault that was made is found, its input saved"
else
	echo "not ok 1 - a fault that was made is found, its input saved"
	tail -n 60 "$tmp/out" | sed 's/^/# /'
fi
n=1
for target; do
	n=$((n + 1))
	name=${target##*/fuzz_}
	case $clients in
	*" $name "*) count=${OB_FUZZ_RUNS:-$runs} ;;
	*) count=${OB_FUZZ_RUNS:-$((runs / 10))} ;;
	esac
	mkdir -p fuzz-found
	if explore "$target" "$count" "fuzz-found/$name-" "$OB_SRCDIR/t/fuzz/corpus_$name"; then
		echo "ok $n - $name: $count inputs of seed $seed"
		tail -n 1 "$tmp/out" | sed 's/^/# /'
	else
		echo "not ok $n - $name: $count inputs of seed $seed"
		tail -n 60 "$tmp/out" | sed 's/^/# /'
	fi
	rmdir fuzz-found 2>/dev/null
done
