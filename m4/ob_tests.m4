# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# OB_TESTS
# What the tests use and obhost does not. All of it is optional, and a test without its tool is
# a visible SKIP; with --enable-tests=required CUnit and Python with websockets must be there.
AC_DEFUN([OB_TESTS], [
PKG_CHECK_MODULES([CUNIT], [cunit >= 2.1], [ob_have_cunit=yes], [ob_have_cunit=no])
AM_CONDITIONAL([HAVE_CUNIT], [test "x$ob_have_cunit" = xyes])

# A second opinion on the WebSocket codec.
ob_have_wslay=yes
AC_CHECK_HEADER([wslay/wslay.h], [], [ob_have_wslay=no])
AC_CHECK_LIB([wslay], [wslay_frame_context_init], [WSLAY_LIBS=-lwslay], [ob_have_wslay=no])
AS_IF([test "x$ob_have_wslay" = xyes],
  [AC_DEFINE([HAVE_WSLAY], [1], [Define to 1 if libwslay is there (tests only).])], [WSLAY_LIBS=])
AC_SUBST([WSLAY_LIBS])
AM_CONDITIONAL([HAVE_WSLAY], [test "x$ob_have_wslay" = xyes])

# What bench/mesh.py measures beside.
PKG_CHECK_MODULES([NATS], [libnats >= 3.0], [ob_have_nats=yes], [ob_have_nats=no])
AM_CONDITIONAL([HAVE_NATS], [test "x$ob_have_nats" = xyes])

# Debian's python3-websockets is for Debian's python3, which need not be the first in PATH.
AC_ARG_VAR([PYTHON3], [python3 that can import websockets])
ob_have_websockets=no
ob_any_python=
AC_MSG_CHECKING([for a python3 with websockets])
for ob_py in ${PYTHON3-/usr/bin/python3 python3}; do
  AS_IF([test "x$ob_have_websockets" = xno], [
    AS_IF([$ob_py -c 'import websockets' 2>/dev/null],
      [PYTHON3=$ob_py ob_have_websockets=yes],
      [$ob_py -c 'pass' 2>/dev/null && test "x$ob_any_python" = x], [ob_any_python=$ob_py])])
done
AS_IF([test "x$ob_have_websockets" = xno], [PYTHON3=$ob_any_python])
AC_MSG_RESULT([${PYTHON3:-no python3} (websockets: $ob_have_websockets)])
AM_CONDITIONAL([HAVE_PYTHON3], [test "x$PYTHON3" != x])
AM_CONDITIONAL([HAVE_WEBSOCKETS], [test "x$ob_have_websockets" = xyes])

AC_CHECK_PROGS([NODE], [node nodejs])
AC_CHECK_PROGS([TEST_CXX], [g++ clang++ c++])
AC_CHECK_PROGS([GCOVR], [gcovr])
AC_CHECK_TOOL([NM_TOOL], [nm], [nm])
AC_CHECK_TOOL([READELF], [readelf], [readelf])

AS_IF([test "x$enable_tests" = xrequired], [
  AS_IF([test "x$ob_have_cunit" = xno],
    [AC_MSG_ERROR([--enable-tests=required: CUnit is missing (Debian: apt install libcunit1-dev)])])
  AS_IF([test "x$ob_have_websockets" = xno],
    [AC_MSG_ERROR([--enable-tests=required: no python3 imports websockets (Debian: apt install python3-websockets)])])])
])
