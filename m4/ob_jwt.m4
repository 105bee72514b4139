# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors

# OB_JWT
# The module auth takes JSON Web Tokens if libjwt is there; --with-jwt insists on it. Sets
# JWT_CPPFLAGS and JWT_LIBS, empty without, and ob_have_jwt.
AC_DEFUN([OB_JWT], [
AC_ARG_WITH([jwt],
  [AS_HELP_STRING([--with-jwt], [JSON Web Tokens in the module auth, by libjwt [if it is there]])],
  [], [with_jwt=auto])
ob_have_jwt=no
AS_IF([test "x$with_jwt" != xno],
  [PKG_CHECK_MODULES([JWT], [libjwt >= 1.10.2], [ob_have_jwt=yes],
    [AS_IF([test "x$with_jwt" = xyes],
      [AC_MSG_ERROR([--with-jwt: libjwt is missing (Debian: apt install libjwt-dev)])])])])
AS_IF([test $ob_have_jwt = yes],
  [JWT_CPPFLAGS="-DOB_WITH_JWT $JWT_CFLAGS"],
  [JWT_CPPFLAGS=
   JWT_LIBS=])
AC_SUBST([JWT_CPPFLAGS])
AC_SUBST([JWT_LIBS])
])
