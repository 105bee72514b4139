#!/bin/sh
# Makes ./configure: once, and again when configure.ac has changed. Needs autoconf, automake, libtool
# and pkg-config.
cd "$(dirname "$0")" || exit 1
macros=$("${PKG_CONFIG:-pkg-config}" --variable=aclocaldir obhost) || {
	echo "autogen.sh: the obhost SDK is not found: install obhost-dev, or set PKG_CONFIG_PATH" >&2
	exit 1
}
# obhost.m4 is copied to m4/, so that the project builds without it from here on.
ACLOCAL_PATH=$macros${ACLOCAL_PATH:+:$ACLOCAL_PATH}
export ACLOCAL_PATH
mkdir -p build-aux m4
exec autoreconf -fi
