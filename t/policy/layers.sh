#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
#
# The floors: an include goes to the same floor or down, a library stops at its floor, and a module
# or example includes the SDK, jansson, libc and its own folder. One that is about a library declares
# it in the Makefile.inc of its folder, "# libraries: openssl jwt": headers in a folder of that name, or
# called so.
. "$(dirname "$0")/lib.sh"
cd "$OB_SRCDIR" || exit 1

# Prints "file:line: reason" for each include that breaks a rule.
findings=$(find core modules examples sdk -name '*.[ch]' | LC_ALL=C sort | xargs awk '
function bad(reason) {
	printf "%s:%d: %s: %s\n", FILENAME, FNR, name, reason
}
function is_libc(header) {
	return header ~ libc || header ~ /^(sys|netinet|arpa|linux|sanitizer)\/[a-z0-9_]+\.h$/
}
function check_core(path, at) {
	from = path[2] in rank ? rank[path[2]] : 5
	if (quoted) {
		split(name, at, "/")
		if (!(at[1] in rank)) {
			bad("write the floor: \"floor/file.h\"")
		} else if (rank[at[1]] > from) {
			bad("a floor above")
		}
		return
	}
	if (is_libc(name)) {
		return
	}
	if (name ~ /^obhost\//) {
		if (from < 1) bad("the lowest floor is libc only")
	} else if (name ~ /^(uv|jansson)\.h$/) {
		if (from < 1) bad("the lowest floor is libc only")
	} else if (name ~ /^openssl\//) {
		if (from < 2) bad("openssl starts at core/net")
	} else if (name ~ /^curl\//) {
		if (FILENAME != "core/net/httpc.c" && FILENAME != "core/main.c") bad("libcurl stops at core/net/httpc.c")
	} else if (name ~ /^(http_parser|llhttp)\.h$/) {
		if (FILENAME !~ /^core\/net\/http_parse\.[ch]$/) bad("the HTTP parser stops at core/net/http_parse")
	} else if (name == "zlib.h") {
		if (FILENAME != "core/net/wsdeflate.c") bad("zlib stops at core/net/wsdeflate.c")
	} else {
		bad("a library the host does not use")
	}
}
function is_declared(path, file, line, libraries, header) {
	file = path[1] "/" path[2] "/Makefile.inc"
	while ((getline line < file) > 0) {
		if (sub(/^# libraries:/, "", line)) libraries = line " "
	}
	close(file)
	header = name
	sub(/(\/.*|\.h)$/, "", header)
	return index(libraries, " " header " ") > 0
}
function check_module(path, own) {
	if (!quoted) {
		if (path[1] == "sdk" && name == "obhost/mock.h") {
			return
		}
		if (name != "obhost/obhost.h" && name != "jansson.h" && !is_libc(name) && !is_declared(path)) {
			bad("a module includes <obhost/obhost.h>, <jansson.h>, libc and what it declares")
		}
		return
	}
	# the mock host keeps the same calendar, and gives names the same numbers
	if (path[1] == "sdk" && (name == "lib/cron.h" || name == "lib/fnv.h")) {
		return
	}
	own = path[1] "/" (path[1] == "sdk" ? "" : path[2] "/") name
	if (name ~ /\// || (getline line < own) < 0) {
		bad("a quoted include of a module is in its own folder")
	}
	close(own)
}
BEGIN {
	rank["lib"] = 0; rank["base"] = 1; rank["net"] = 2; rank["mesh"] = 3; rank["host"] = 4; rank["cmd"] = 5
	libc = "^(assert|byteswap|complex|ctype|dirent|dlfcn|elf|endian|errno|fcntl|fenv|float|getopt|" \
	       "grp|ifaddrs|inttypes|iso646|limits|link|locale|malloc|math|netdb|poll|pthread|pwd|sched|" \
	       "semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|" \
	       "stdlib|stdnoreturn|string|strings|syslog|tgmath|threads|time|uchar|unistd|wchar|wctype)\\.h$"
}
/^[ \t]*#[ \t]*include/ {
	quoted = $0 ~ /include[ \t]*"/
	name = $0
	sub(/^[^"<]*["<]/, "", name)
	sub(/[">].*$/, "", name)
	split(FILENAME, path, "/")
	if (path[1] == "core") {
		check_core(path)
	} else {
		check_module(path)
	}
}')

result "core: a floor includes itself and the floors below" "$(printf '%s' "$findings" | grep '^core/')"
result "modules: the SDK, jansson, libc, declared libraries and the own folder" "$(printf '%s' "$findings" | grep '^modules/')"
result "examples: the SDK, jansson, libc, declared libraries and the own folder" "$(printf '%s' "$findings" | grep '^examples/')"
result "sdk: the SDK, jansson, libc and the own folder" "$(printf '%s' "$findings" | grep '^sdk/')"
plan_done
