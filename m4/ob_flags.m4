# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# Compiler and linker flags: each is taken only when the compiler accepts it without a warning,
# so that one configure.ac serves gcc and clang, old and new.

# OB_ADD_CFLAGS(VARIABLE, FLAGS)
# Appends to VARIABLE each flag of the blank-separated list that compiles.
AC_DEFUN([OB_ADD_CFLAGS], [
for ob_flag in $2; do
  AS_VAR_PUSHDEF([ob_cache], [ob_cv_cflag_$ob_flag])
  AC_CACHE_CHECK([whether $CC takes $ob_flag], [ob_cache], [
    ob_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -Werror $ob_flag"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[return 0;]])],
      [AS_VAR_SET([ob_cache], [yes])], [AS_VAR_SET([ob_cache], [no])])
    CFLAGS=$ob_save_CFLAGS])
  AS_VAR_IF([ob_cache], [yes], [AS_VAR_APPEND([$1], [" $ob_flag"])])
  AS_VAR_POPDEF([ob_cache])
done
])

# OB_ADD_LDFLAGS(VARIABLE, FLAGS)
# The same for flags of the linker.
AC_DEFUN([OB_ADD_LDFLAGS], [
for ob_flag in $2; do
  AS_VAR_PUSHDEF([ob_cache], [ob_cv_ldflag_$ob_flag])
  AC_CACHE_CHECK([whether $CC links with $ob_flag], [ob_cache], [
    ob_save_LDFLAGS=$LDFLAGS
    LDFLAGS="$LDFLAGS -Werror $ob_flag"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[return 0;]])],
      [AS_VAR_SET([ob_cache], [yes])], [AS_VAR_SET([ob_cache], [no])])
    LDFLAGS=$ob_save_LDFLAGS])
  AS_VAR_IF([ob_cache], [yes], [AS_VAR_APPEND([$1], [" $ob_flag"])])
  AS_VAR_POPDEF([ob_cache])
done
])

# OB_REQUIRE_SANITIZER(FLAGS)
# Stops unless a program builds with these flags; adds them to OB_SAN_CFLAGS and OB_SAN_LDFLAGS.
AC_DEFUN([OB_REQUIRE_SANITIZER], [
AC_MSG_CHECKING([whether $CC builds with $1])
ob_save_CFLAGS=$CFLAGS
CFLAGS="$CFLAGS $1"
AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[return 0;]])],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([$CC can't build with "$1": install the sanitizer's runtime or use another compiler (fuzzing needs CC=clang)])])
CFLAGS=$ob_save_CFLAGS
OB_SAN_CFLAGS="$OB_SAN_CFLAGS $1"
OB_SAN_LDFLAGS="$OB_SAN_LDFLAGS $1"
])

# OB_SWITCHES
# The --enable switches; before AC_PROG_CC, as coverage changes the default CFLAGS.
AC_DEFUN([OB_SWITCHES], [
AC_ARG_ENABLE([asan],
  [AS_HELP_STRING([--enable-asan], [build with the address and undefined behaviour sanitizers])],
  [], [enable_asan=no])
AC_ARG_ENABLE([tsan],
  [AS_HELP_STRING([--enable-tsan], [build with the thread sanitizer])],
  [], [enable_tsan=no])
AC_ARG_ENABLE([fuzz],
  [AS_HELP_STRING([--enable-fuzz], [link the fuzz targets with libFuzzer (clang); implies asan])],
  [], [enable_fuzz=no])
AC_ARG_ENABLE([coverage],
  [AS_HELP_STRING([--enable-coverage], [build for "make coverage" (gcov, unoptimised)])],
  [], [enable_coverage=no])
AC_ARG_ENABLE([werror],
  [AS_HELP_STRING([--enable-werror], [compiler warnings are errors])],
  [], [enable_werror=no])
AC_ARG_ENABLE([hardening],
  [AS_HELP_STRING([--disable-hardening], [leave out the hardening flags])],
  [], [enable_hardening=yes])
AC_ARG_ENABLE([tests],
  [AS_HELP_STRING([--enable-tests=required], [stop when a library of the tests is missing])],
  [], [enable_tests=yes])
AS_IF([test "x$enable_fuzz" = xyes], [enable_asan=yes])
AS_IF([test "x$enable_asan$enable_tsan" = xyesyes],
  [AC_MSG_ERROR([--enable-tsan goes with neither --enable-asan nor --enable-fuzz])])
AS_IF([test "x$enable_coverage" = xyes], [: ${CFLAGS="-O0 -g"}], [: ${CFLAGS="-O2 -g"}])
])

# OB_FLAGS
# Sets OB_WARN, OB_HARDEN_CFLAGS, OB_HARDEN_LDFLAGS, OB_PIE_CFLAGS, OB_PIE_LDFLAGS, OB_SAN_CFLAGS,
# OB_SAN_LDFLAGS, OB_FUZZ_LDFLAGS, OB_MOD_DEFS, OB_SANITIZE.
AC_DEFUN([OB_FLAGS], [
OB_WARN=
OB_HARDEN_CFLAGS=
OB_HARDEN_LDFLAGS=
OB_PIE_CFLAGS=
OB_PIE_LDFLAGS=
OB_SAN_CFLAGS=
OB_SAN_LDFLAGS=
OB_FUZZ_LDFLAGS=
OB_MOD_DEFS=
OB_SANITIZE=

OB_ADD_CFLAGS([OB_WARN], [-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes dnl
-Wold-style-definition -Wpointer-arith -Wformat=2 -Wvla -Wundef -Wwrite-strings dnl
-Wimplicit-fallthrough -Wduplicated-cond -Wlogical-op -Wno-unused-parameter])
AS_IF([test "x$enable_werror" = xyes], [OB_WARN="$OB_WARN -Werror"])

AS_IF([test "x$enable_asan" = xyes], [
  OB_SANITIZE=address
  OB_REQUIRE_SANITIZER([-fsanitize=address,undefined])
  OB_SAN_CFLAGS="$OB_SAN_CFLAGS -fno-sanitize-recover=undefined -fno-omit-frame-pointer"])
AS_IF([test "x$enable_tsan" = xyes], [
  OB_SANITIZE=thread
  OB_REQUIRE_SANITIZER([-fsanitize=thread])
  OB_SAN_CFLAGS="$OB_SAN_CFLAGS -fno-omit-frame-pointer"])
AS_IF([test "x$enable_fuzz" = xyes], [
  OB_REQUIRE_SANITIZER([-fsanitize=fuzzer-no-link])
  OB_FUZZ_LDFLAGS=-fsanitize=fuzzer])
AS_IF([test "x$enable_coverage" = xyes], [
  OB_SAN_CFLAGS="$OB_SAN_CFLAGS --coverage"
  OB_SAN_LDFLAGS="$OB_SAN_LDFLAGS --coverage"])

AS_IF([test "x$enable_hardening" != xno], [
  OB_ADD_CFLAGS([OB_HARDEN_CFLAGS], [-fstack-protector-strong -fstack-clash-protection -fcf-protection])
  OB_ADD_LDFLAGS([OB_HARDEN_LDFLAGS], [-Wl,-z,relro -Wl,-z,now])
  # Fortify warns without optimisation, and hides what the sanitizers look for.
  AS_IF([test "x$OB_SANITIZE" = x],
    [AC_CACHE_CHECK([whether _FORTIFY_SOURCE goes with $CFLAGS], [ob_cv_fortify], [
       ob_save_CFLAGS=$CFLAGS
       CFLAGS="$CFLAGS -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"
       AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[return 0;]])],
         [ob_cv_fortify=yes], [ob_cv_fortify=no])
       CFLAGS=$ob_save_CFLAGS])
     AS_IF([test "x$ob_cv_fortify" = xyes],
       [OB_HARDEN_CFLAGS="$OB_HARDEN_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"])])
  OB_ADD_CFLAGS([OB_PIE_CFLAGS], [-fPIE])
  OB_ADD_LDFLAGS([OB_PIE_LDFLAGS], [-pie])])

# A sanitizer's runtime is in the executable, so its symbols are open in a module.
AS_IF([test "x$OB_SANITIZE" = x], [OB_ADD_LDFLAGS([OB_MOD_DEFS], [-Wl,-z,defs])])
OB_ADD_LDFLAGS([OB_MOD_DEFS], [-Wl,--build-id])
OB_ADD_CFLAGS([OB_HARDEN_CFLAGS], [-fno-gnu-unique])

AC_SUBST([OB_WARN])
AC_SUBST([OB_HARDEN_CFLAGS])
AC_SUBST([OB_HARDEN_LDFLAGS])
AC_SUBST([OB_PIE_CFLAGS])
AC_SUBST([OB_PIE_LDFLAGS])
AC_SUBST([OB_SAN_CFLAGS])
AC_SUBST([OB_SAN_LDFLAGS])
AC_SUBST([OB_FUZZ_LDFLAGS])
AC_SUBST([OB_MOD_DEFS])
AC_SUBST([OB_SANITIZE])
])
