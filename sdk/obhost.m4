# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# For the configure.ac of a module. `obhost new NAME` makes a project that uses it:
#
#     AC_PROG_CC
#     LT_INIT([disable-static dlopen])
#     OB_PLUGIN_INIT([0.1.0])
#     OB_PLUGIN_TESTS
#
# and in its Makefile.am:
#
#     moduledir = $(OBHOST_MODULEDIR)
#     module_LTLIBRARIES = hello.la
#     hello_la_SOURCES = src/hello.c
#     hello_la_CFLAGS = $(OBHOST_CFLAGS)
#     hello_la_LDFLAGS = $(OBHOST_LDFLAGS)
#     hello_la_LIBADD = $(OBHOST_LIBS)

# serial 1

# _OB_PLUGIN_CFLAGS(VARIABLE, FLAGS)
# Appends to VARIABLE each flag of the blank-separated list that the compiler of the current language
# takes without a warning.
AC_DEFUN([_OB_PLUGIN_CFLAGS], [
for ob_flag in $2; do
  AC_MSG_CHECKING([whether the _AC_LANG compiler takes $ob_flag])
  ob_save_flags=$[]_AC_LANG_PREFIX[]FLAGS
  _AC_LANG_PREFIX[]FLAGS="$[]_AC_LANG_PREFIX[]FLAGS -Werror $ob_flag"
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <stddef.h>]], [[return 0;]])],
    [AC_MSG_RESULT([yes])
     $1="$$1 $ob_flag"],
    [AC_MSG_RESULT([no])])
  _AC_LANG_PREFIX[]FLAGS=$ob_save_flags
done
])

# _OB_PLUGIN_LDFLAGS(VARIABLE, FLAGS)
# The same for flags of the linker.
AC_DEFUN([_OB_PLUGIN_LDFLAGS], [
for ob_flag in $2; do
  AC_MSG_CHECKING([whether the linker takes $ob_flag])
  ob_save_flags=$LDFLAGS
  LDFLAGS="$LDFLAGS -Werror $ob_flag"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <stddef.h>]], [[return 0;]])],
    [AC_MSG_RESULT([yes])
     $1="$$1 $ob_flag"],
    [AC_MSG_RESULT([no])])
  LDFLAGS=$ob_save_flags
done
])

# OB_PLUGIN_INIT([MINIMUM-VERSION])
# Finds the SDK and sets, for a module:
#   OBHOST_CFLAGS     compile it (C)
#   OBHOST_CXXFLAGS   compile it (C++), when AC_PROG_CXX came before
#   OBHOST_LDFLAGS    link it with libtool
#   OBHOST_LIBS       libraries
#   OBHOST_MODULEDIR  where it is installed; --with-moduledir changes it
#   OBHOST_ABI        MAJOR.MINOR of the SDK
# and the switch --enable-werror.
#
# Why these flags: a module exports its descriptor and nothing else (visibility, export-symbols);
# it can be unmapped (no unique symbols of C++, no static thread-local storage); a symbol that is
# missing is an error of the linker and not of the node (defs, now); and the node's log says which
# build it is (build-id).
AC_DEFUN([OB_PLUGIN_INIT], [
AC_REQUIRE([AC_PROG_CC])
AC_REQUIRE([PKG_PROG_PKG_CONFIG])
PKG_CHECK_MODULES([OBHOST_SDK], [obhost m4_ifval([$1], [>= $1])], [],
  [AC_MSG_ERROR([the obhost SDK m4_ifval([$1], [(at least $1) ])is not found: $OBHOST_SDK_PKG_ERRORS
  Install obhost-dev, or set PKG_CONFIG_PATH to the directory of obhost.pc: PREFIX/lib/pkgconfig, or obhost's build tree.])])
PKG_CHECK_MODULES([OBHOST_JANSSON], [jansson >= 2.13])
PKG_CHECK_VAR([OBHOST_ABI], [obhost], [abi])
PKG_CHECK_VAR([ob_moduledir], [obhost], [moduledir])

AC_ARG_ENABLE([werror],
  [AS_HELP_STRING([--enable-werror], [compiler warnings are errors])], [], [enable_werror=no])
AC_ARG_WITH([moduledir],
  [AS_HELP_STRING([--with-moduledir=DIR], [install the module in DIR (default: where obhost looks)])],
  [OBHOST_MODULEDIR=$withval], [OBHOST_MODULEDIR=$ob_moduledir])
AS_CASE([$OBHOST_MODULEDIR],
  [/*], [],
  [AC_MSG_ERROR([--with-moduledir: "$OBHOST_MODULEDIR" is not an absolute directory])])

ob_warn="-Wall -Wextra -Wno-unused-parameter"
ob_code="-fvisibility=hidden -ftls-model=global-dynamic -fno-gnu-unique -fstack-protector-strong"
AS_IF([test "x$enable_werror" = xyes], [ob_warn="$ob_warn -Werror"])

ob_cflags=
AC_LANG_PUSH([C])
# With CC=g++ this is C++ as well: it warns of hooks that a descriptor leaves out.
_OB_PLUGIN_CFLAGS([ob_cflags], [-Wno-missing-field-initializers $ob_warn $ob_code])
AC_LANG_POP([C])
OBHOST_CFLAGS="$OBHOST_SDK_CFLAGS $OBHOST_JANSSON_CFLAGS -fPIC$ob_cflags"

OBHOST_CXXFLAGS=
AC_PROVIDE_IFELSE([AC_PROG_CXX], [
ob_cxxflags=
AC_LANG_PUSH([C++])
_OB_PLUGIN_CFLAGS([ob_cxxflags],
  [-std=c++20 -fvisibility-inlines-hidden -Wno-missing-field-initializers $ob_warn $ob_code])
AC_LANG_POP([C++])
OBHOST_CXXFLAGS="$OBHOST_SDK_CFLAGS $OBHOST_JANSSON_CFLAGS -fPIC$ob_cxxflags"
])

# The runtime of a sanitizer is in the executable, so its symbols are open in a module.
ob_defs=-Wl,-z,defs
AS_CASE([" $CFLAGS $CXXFLAGS "], [*" -fsanitize="*], [ob_defs=])
ob_ldflags=
_OB_PLUGIN_LDFLAGS([ob_ldflags], [$ob_defs -Wl,-z,now -Wl,-z,relro -Wl,--build-id])
OBHOST_LDFLAGS="-module -shared -avoid-version -export-symbols-regex '^ob_module\$\$'$ob_ldflags"
OBHOST_LIBS=$OBHOST_JANSSON_LIBS

AC_SUBST([OBHOST_CFLAGS])
AC_SUBST([OBHOST_CXXFLAGS])
AC_SUBST([OBHOST_LDFLAGS])
AC_SUBST([OBHOST_LIBS])
AC_SUBST([OBHOST_MODULEDIR])
])

# OB_PLUGIN_TESTS
# Finds what the tests of a module are made with:
#   OBHOST, OBBENCH, CURL       the programs, or empty
#   OBHOST_MODULE_PATH          where obhost's own modules are
#   OBHOST_EXAMPLE_PATH         where its examples are
#   OBHOST_MOCK_CFLAGS, OBHOST_MOCK_LIBS   the mock host
# and the conditional OBHOST_MOCK. A test that lacks something says so and is skipped.
AC_DEFUN([OB_PLUGIN_TESTS], [
AC_REQUIRE([OB_PLUGIN_INIT])
PKG_CHECK_VAR([ob_bindir], [obhost], [bindir])
PKG_CHECK_VAR([OBHOST_MODULE_PATH], [obhost], [moduledir])
PKG_CHECK_VAR([OBHOST_EXAMPLE_PATH], [obhost], [exampledir])
ob_path=$ob_bindir$PATH_SEPARATOR$ob_bindir/tools$PATH_SEPARATOR$PATH
AC_ARG_VAR([OBHOST], [the obhost program, for the tests])
AC_ARG_VAR([OBBENCH], [the obbench program, for the tests])
AC_PATH_PROG([OBHOST], [obhost], [], [$ob_path])
AC_PATH_PROG([OBBENCH], [obbench], [], [$ob_path])
AC_PATH_PROG([CURL], [curl])
AS_IF([test "x$OBHOST" = x],
  [AC_MSG_WARN([no obhost program: the test with a real node will be skipped])])
PKG_CHECK_MODULES([OBHOST_MOCK], [obhost-mock], [ob_have_mock=yes],
  [ob_have_mock=no
   AC_MSG_WARN([no mock host: the unit test will be left out])])
AM_CONDITIONAL([OBHOST_MOCK], [test "x$ob_have_mock" = xyes])
])
