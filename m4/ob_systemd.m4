# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# OB_SYSTEMD
# Where the service's files go: the unit, the user (sysusers.d), the folders (tmpfiles.d) and the
# rotation of its logs. The defaults are below the prefix, so that an installation never writes
# outside of it: systemd reads those of /usr and of /usr/local. Sets systemdsystemunitdir,
# sysusersdir, tmpfilesdir and the conditional WITH_SYSTEMD.
AC_DEFUN([OB_SYSTEMD], [
AC_ARG_WITH([systemdsystemunitdir],
  [AS_HELP_STRING([--with-systemdsystemunitdir=DIR],
    [folder of systemd's units; no: leave out the service's files [PREFIX/lib/systemd/system]])],
  [], [with_systemdsystemunitdir='${prefix}/lib/systemd/system'])
AS_CASE([$with_systemdsystemunitdir],
  [yes], [PKG_CHECK_VAR([systemdsystemunitdir], [systemd], [systemdsystemunitdir], [],
    [AC_MSG_ERROR([--with-systemdsystemunitdir: systemd.pc is missing (Debian: apt install systemd-dev, before 13 systemd), or name the folder])])],
  [no], [systemdsystemunitdir=],
  [systemdsystemunitdir=$with_systemdsystemunitdir])
AC_ARG_WITH([sysusersdir],
  [AS_HELP_STRING([--with-sysusersdir=DIR], [folder of sysusers.d files [PREFIX/lib/sysusers.d]])],
  [sysusersdir=$withval], [sysusersdir='${prefix}/lib/sysusers.d'])
AC_ARG_WITH([tmpfilesdir],
  [AS_HELP_STRING([--with-tmpfilesdir=DIR], [folder of tmpfiles.d files [PREFIX/lib/tmpfiles.d]])],
  [tmpfilesdir=$withval], [tmpfilesdir='${prefix}/lib/tmpfiles.d'])
AC_SUBST([systemdsystemunitdir])
AC_SUBST([sysusersdir])
AC_SUBST([tmpfilesdir])
AM_CONDITIONAL([WITH_SYSTEMD], [test "x$systemdsystemunitdir" != x])
])
