# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# OB_HTTP_PARSER
# The HTTP/1.1 parser behind core/net/http_parse: libhttp_parser, or with --with-llhttp=DIR the
# llhttp sources in DIR (llhttp.c, api.c, http.c), compiled into the host. Debian's node-llhttp
# has them in /usr/share/llhttp, with the header in /usr/share/include/llhttp.
# Sets HTTP_PARSER_CFLAGS, HTTP_PARSER_LIBS, LLHTTP_DIR and the conditional WITH_LLHTTP.
AC_DEFUN([OB_HTTP_PARSER], [
AC_ARG_WITH([llhttp],
  [AS_HELP_STRING([--with-llhttp=DIR],
    [compile the llhttp sources in DIR instead of using libhttp_parser [/usr/share/llhttp]])],
  [], [with_llhttp=no])
HTTP_PARSER_CFLAGS=
HTTP_PARSER_LIBS=
LLHTTP_DIR=
AS_CASE([$with_llhttp], [yes], [with_llhttp=/usr/share/llhttp])
AS_IF([test "x$with_llhttp" != xno], [
  for ob_file in llhttp.c api.c http.c; do
    AS_IF([test ! -r "$with_llhttp/$ob_file"],
      [AC_MSG_ERROR([--with-llhttp: no $ob_file in $with_llhttp (Debian: apt install node-llhttp, then --with-llhttp=/usr/share/llhttp)])])
  done
  LLHTTP_DIR=`cd "$with_llhttp" && pwd`
  AC_MSG_CHECKING([for llhttp.h])
  ob_llhttp_inc=
  for ob_dir in "$LLHTTP_DIR" "$LLHTTP_DIR/include" "$LLHTTP_DIR/../include" \
      "$LLHTTP_DIR/../include/llhttp" /usr/include/node /usr/include; do
    AS_IF([test "x$ob_llhttp_inc" = x && test -r "$ob_dir/llhttp.h"], [ob_llhttp_inc=`cd "$ob_dir" && pwd`])
  done
  AS_IF([test "x$ob_llhttp_inc" = x],
    [AC_MSG_RESULT([no])
     AC_MSG_ERROR([--with-llhttp: llhttp.h is neither in $LLHTTP_DIR nor beside it nor in /usr/include/node])])
  AC_MSG_RESULT([$ob_llhttp_inc])
  AS_IF([test "x$ob_llhttp_inc" != x/usr/include], [HTTP_PARSER_CFLAGS="-I$ob_llhttp_inc"])
  AC_DEFINE([OB_WITH_LLHTTP], [1], [Define to 1 to parse HTTP with llhttp.])
], [
  ob_found=yes
  AC_CHECK_HEADER([http_parser.h], [], [ob_found=no])
  AC_CHECK_LIB([http_parser], [http_parser_execute], [HTTP_PARSER_LIBS=-lhttp_parser], [ob_found=no])
  AS_IF([test "x$ob_found" = xno],
    [AC_MSG_ERROR([http_parser is missing (Debian: apt install libhttp-parser-dev, or apt install node-llhttp and --with-llhttp=/usr/share/llhttp)])])
])
AC_SUBST([HTTP_PARSER_CFLAGS])
AC_SUBST([HTTP_PARSER_LIBS])
AC_SUBST([LLHTTP_DIR])
AM_CONDITIONAL([WITH_LLHTTP], [test "x$LLHTTP_DIR" != x])
])
