#!/bin/sh
# Makes configure and the Makefile.in from what is in git.
cd "$(dirname "$0")" && exec autoreconf -fi
