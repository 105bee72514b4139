#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# The C files are as clang-format 14 would write them.
. "$(dirname "$0")/lib.sh"
out=$("$OB_SRCDIR/scripts/format" --check 2>&1)
status=$?
[ "$status" -ne 77 ] || skip_all "$out"
[ "$status" -eq 0 ] || out="${out:-scripts/format --check failed}"
[ "$status" -ne 0 ] || out=
result "scripts/format would change nothing" "$(printf '%s' "$out" | head -n 60)"
plan_done
