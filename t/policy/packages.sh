#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# What makes packages agrees with the tree: one version, one ABI, every file in the archive; and the
# tools that will read these files take them.
. "$(dirname "$0")/lib.sh"
make_tmp
cd "$OB_SRCDIR" || exit 1

version=$(sed -n 's/^AC_INIT(\[obhost\], \[\(.*\)\])$/\1/p' configure.ac)
result "configure.ac has a version" "$([ -n "$version" ] || echo "none found")"
deb=$(sed -n '1s/^obhost (\(.*\)-[^-]*) .*/\1/p' debian/changelog)
result "debian/changelog is about it" "$([ "$deb" = "$version" ] || echo "$deb, not $version")"
spec=packaging/rpm/obhost.spec
rpm=$(sed -n 's/^Version:[[:blank:]]*//p' $spec)
result "the RPM spec is about it" "$([ "$rpm" = "$version" ] || echo "$rpm, not $version")"

found=
for word in MAJOR MINOR; do
	small=$(echo $word | tr A-Z a-z)
	header=$(awk -v name=OB_ABI_$word '$1 ~ /define$/ && $2 == name { print $3 }' include/obhost/obhost.h)
	of_spec=$(sed -n "s/^%global abi_$small //p" $spec)
	[ "$header" = "$of_spec" ] || found="$found$small: the header says $header, the spec $of_spec
"
done
result "the RPM spec has the header's ABI" "$found"

found=
for file in $(find debian packaging -type f -not -path 'debian/*/*/*' | LC_ALL=C sort); do
	case $file in
	# What a build leaves there, and what the top Makefile.am has.
	debian/*.debhelper* | debian/*.substvars | debian/files | debian/tmp/* | debian/obhost*/* | \
	debian/debhelper-build-stamp | debian/autoreconf.* | packaging/systemd/obhost@.service | \
	packaging/Makefile.inc) continue ;;
	esac
	grep -qx "[[:blank:]]*$file\( [\\]\)*" packaging/Makefile.inc || found="$found$file
"
done
result "packaging/Makefile.inc lists every file" "$found"

found=
for file in debian/rules debian/*.install; do
	case $(head -n 1 "$file") in
	'#!'*) [ -x "$file" ] || found="$found$file is not executable
" ;;
	esac
done
result "debhelper's scripts can be run" "$found"

if command -v rpmspec >/dev/null 2>&1; then
	HOME=$tmp rpmspec -P $spec >"$tmp/spec" 2>&1 && bad= || bad=$(cat "$tmp/spec")
	result "rpm reads the spec" "$bad"
else
	skip "rpm reads the spec" "no rpmspec"
fi

unit=$OB_BUILDDIR/packaging/systemd/obhost@.service
if ! command -v systemd-analyze >/dev/null 2>&1 || [ ! -e "$unit" ]; then
	skip "systemd reads the unit" "no systemd-analyze, or configured without units"
	skip "the unit is closed as far as a node allows" "no systemd-analyze, or configured without units"
else
	# In a root of its own, where the program is.
	mkdir -p "$tmp/root/etc/systemd/system" "$tmp/root/usr/lib/systemd/system"
	bin=$(sed -n 's/^ExecStart=\([^ ]*\) .*/\1/p' "$unit")
	mkdir -p "$tmp/root$(dirname "$bin")" "$tmp/root/bin"
	cp /bin/true "$tmp/root$bin"
	cp /bin/true "$tmp/root/bin/kill"
	cp "$unit" "$tmp/root/etc/systemd/system/obhost@.service"
	cp "$unit" "$tmp/root/etc/systemd/system/obhost@x.service"
	result "systemd reads the unit" "$(systemd-analyze verify --man=no --recursive-errors=no \
		--root="$tmp/root" obhost@x.service 2>&1 | grep -i obhost)"
	systemd-analyze security --offline=yes --threshold=20 --no-pager \
		--root="$tmp/root" obhost@x.service >"$tmp/security" 2>&1 && bad= || bad=$(cat "$tmp/security")
	result "the unit is closed as far as a node allows" "$bad"
fi

if command -v systemd-sysusers >/dev/null 2>&1; then
	mkdir -p "$tmp/users/etc"
	systemd-sysusers --root="$tmp/users" "$OB_SRCDIR/packaging/sysusers.d/obhost.conf" \
		>"$tmp/log" 2>&1 && bad= || bad=$(cat "$tmp/log")
	grep -q '^obhost:.*:/var/lib/obhost:' "$tmp/users/etc/passwd" || bad="$bad no user obhost"
	result "sysusers.d makes the user" "$bad"
else
	skip "sysusers.d makes the user" "no systemd-sysusers"
fi

if command -v logrotate >/dev/null 2>&1; then
	# The user need not be here.
	grep -v '^[[:blank:]]*su ' packaging/logrotate/obhost >"$tmp/logrotate"
	chmod 600 "$tmp/logrotate"
	logrotate -d -s "$tmp/state" "$tmp/logrotate" >"$tmp/log" 2>&1 && bad= || bad=$(cat "$tmp/log")
	result "logrotate reads its file" "$bad$(grep -i '^error' "$tmp/log")"
else
	skip "logrotate reads its file" "no logrotate"
fi
plan_done
