/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/swap/stage.h"
#include "tap.h"
#include "unit/files.h"

#define ABC_SHA   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_UPPER "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
#define OTHER_SHA "0000000000000000000000000000000000000000000000000000000000000000"
#define STRANGER  1234u /* a user and a group that is nobody's here */

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

/* TOP/up/mods is looked in second, TOP/stage takes the copies. */
static char top[PATH_MAX];
static char mods[PATH_MAX];
static const char *dirs[3];
static struct ob__load_refusal refusal;
static uint32_t number;

static char *in(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A path below TOP; of the last few calls. */
static char *in(const char *fmt, ...)
{
	static char paths[4][PATH_MAX + 300];
	static unsigned at;
	char *path = paths[at++ % 4];
	va_list ap;

	int len = snprintf(path, sizeof(paths[0]), "%s/", top);
	va_start(ap, fmt);
	vsnprintf(path + len, sizeof(paths[0]) - (size_t)len, fmt, ap);
	va_end(ap);
	return path;
}

static void put(const char *path, const char *text, mode_t mode)
{
	files_write_text(path, text);
	CU_ASSERT_EQUAL(chmod(path, mode), 0);
}

static void begin(void)
{
	files_make_dir(top, sizeof(top));
	CU_ASSERT_EQUAL(mkdir(in("up"), 0755), 0);
	CU_ASSERT_EQUAL(mkdir(in("up/mods"), 0755), 0);
	CU_ASSERT_EQUAL(mkdir(in("stage"), 0700), 0);
	snprintf(mods, sizeof(mods), "%s", in("up/mods"));
	dirs[0] = "/nonexistent/obhost";
	dirs[1] = mods;
	dirs[2] = NULL;
	put(in("up/mods/m.so"), "abc", 0644);
}

static void end(void)
{
	/* A copy that was made was taken away by the test; one that was not made is not there. */
	CU_ASSERT_EQUAL(rmdir(in("stage")), 0);
	files_remove(top);
}

static struct ob__stage stage_of(const char *name, const char *path)
{
	static char stage_dir[PATH_MAX + 300];

	snprintf(stage_dir, sizeof(stage_dir), "%s", in("stage"));
	return (struct ob__stage){.dirs = dirs,
	                          .stage_dir = stage_dir,
	                          .name = name,
	                          .path = path,
	                          .want_sha = "",
	                          .known_sha = "",
	                          .number = ++number};
}

/* It is taken, with the copy's bytes, and the copy is removed. */
static bool taken(const char *name, const char *path, const char *text)
{
	struct ob__stage s = stage_of(name, path);
	char block[64] = "";

	refusal = (struct ob__load_refusal){.code = ""};
	if (ob__stage_run(&s, &refusal) != 0) {
		printf("# %s\n", refusal.message);
		return false;
	}
	FILE *f = fopen(s.staged, "re");
	bool same = f != NULL && fread(block, 1, sizeof(block) - 1, f) == strlen(text) &&
	            strcmp(block, text) == 0;
	if (f != NULL) {
		fclose(f);
	}
	unlink(s.staged);
	return same;
}

static bool has(const char *what, const char *text, const char *part)
{
	if (strstr(text, part) != NULL) {
		return true;
	}
	printf("# %s: \"%s\" has no \"%s\"\n", what, text, part);
	return false;
}

/* It is refused so; each refusal names a file, what was found and expected, and what to do. */
static bool refused_with(const char *name, const char *path, const char *want, const char *code,
                         const char *file, const char *found, const char *remedy)
{
	struct ob__stage s = stage_of(name, path);

	refusal = (struct ob__load_refusal){.code = ""};
	s.want_sha = want;
	if (ob__stage_run(&s, &refusal) == 0) {
		printf("# taken, expected %s\n", code);
		unlink(s.staged);
		return false;
	}
	bool good = has("step", refusal.step, "stage") & has("code", refusal.code, code) &
	            has("file", refusal.file, file) & has("found", refusal.found, found) &
	            has("remedy", refusal.remedy, remedy);
	return good && strlen(refusal.code) == strlen(code) && s.staged[0] == '\0' &&
	       refusal.expected[0] != '\0' && refusal.remedy[0] != '\0' &&
	       has("message", refusal.message, refusal.file);
}

static bool refused(const char *name, const char *path, const char *code, const char *file,
                    const char *found)
{
	return refused_with(name, path, "", code, file, found, "");
}

static bool is_root(void)
{
	if (geteuid() == 0) {
		return true;
	}
	printf("# partly skipped: only root can change owners\n");
	return false;
}

static void test_taken(void)
{
	struct stat st;
	struct stat copy;

	begin();
	struct ob__stage s = stage_of("m", "");
	CU_ASSERT_EQUAL_FATAL(ob__stage_run(&s, &refusal), 0);
	CU_ASSERT_STRING_EQUAL(s.file, in("up/mods/m.so"));
	CU_ASSERT_STRING_EQUAL(s.staged, in("stage/m.%u.so", number));
	CU_ASSERT_STRING_EQUAL(s.sha256, ABC_SHA);
	CU_ASSERT_FALSE(s.unchanged);
	CU_ASSERT_EQUAL(stat(s.file, &st), 0);
	CU_ASSERT_EQUAL(s.size, 3);
	CU_ASSERT_EQUAL(s.inode, st.st_ino);
	CU_ASSERT_EQUAL(s.mtime_ns,
	                (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec);
	CU_ASSERT_EQUAL(stat(s.staged, &copy), 0);
	CU_ASSERT_EQUAL(copy.st_mode & 07777, 0500);
	CU_ASSERT_NOT_EQUAL(copy.st_ino, st.st_ino);
	CU_ASSERT_EQUAL(unlink(s.staged), 0);
	CU_ASSERT_TRUE(taken("m", "", "abc"));
	end();
}

/* A file by its path, also a relative one; directories may be reached through links. */
static void test_paths(void)
{
	char cwd[PATH_MAX];

	begin();
	CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(cwd, sizeof(cwd)));
	put(in("up/other.so"), "xyz", 0755);
	CU_ASSERT_EQUAL(symlink("up/mods", in("link")), 0);
	CU_ASSERT_EQUAL(symlink(in("link"), in("link2")), 0);
	CU_ASSERT_TRUE(taken("m", in("up/other.so"), "xyz"));
	CU_ASSERT_TRUE(taken("m", in("up/mods/../other.so"), "xyz"));
	CU_ASSERT_TRUE(taken("m", in("link2/m.so"), "abc"));
	CU_ASSERT_TRUE(taken("m", in("up//mods/./m.so"), "abc"));
	CU_ASSERT_EQUAL_FATAL(chdir(in("up")), 0);
	CU_ASSERT_TRUE(taken("m", "other.so", "xyz"));
	CU_ASSERT_TRUE(taken("m", "./other.so", "xyz"));
	CU_ASSERT_TRUE(taken("m", "mods/m.so", "abc"));
	CU_ASSERT_TRUE(taken("m", "../link/m.so", "abc"));
	CU_ASSERT_EQUAL(chdir(cwd), 0);
	snprintf(mods, sizeof(mods), "%s", in("link2"));
	CU_ASSERT_TRUE(taken("m", "", "abc"));
	end();
}

static void test_not_found(void)
{
	char longest[600];

	begin();
	CU_ASSERT_TRUE(refused("nobody", "", "not_found", "nobody.so", "in any module directory"));
	CU_ASSERT_TRUE(refused("m", in("gone.so"), "not_found", "/gone.so", "No such file"));
	CU_ASSERT_TRUE(refused("m", in("gone/m.so"), "not_found", "/gone/m.so", "No such file"));
	CU_ASSERT_TRUE(refused("m", in("up/"), "not_found", "/up/", "no file name"));
	/* not a name: nothing below a directory is reached by one */
	CU_ASSERT_EQUAL(mkdir(in("up/mods/sub"), 0755), 0);
	put(in("up/mods/sub/m.so"), "abc", 0644);
	CU_ASSERT_TRUE(refused("sub/m", "", "not_found", "sub/m.so", "no file name"));
	CU_ASSERT_TRUE(refused("../mods/m", "", "not_found", "../mods/m.so", "no file name"));
	/* a file in a directory's place */
	CU_ASSERT_TRUE(refused("m", in("up/mods/m.so/m.so"), "unreadable", "m.so/m.so",
	                       "Not a directory"));
	/* a path longer than is shown */
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	CU_ASSERT_TRUE(refused("m", longest, "unreadable", "xxxx", "File name too long"));
	dirs[0] = longest;
	CU_ASSERT_TRUE(refused("m", "", "unreadable", "xxxx", "File name too long"));
	dirs[0] = NULL;
	CU_ASSERT_TRUE(refused("m", "", "not_found", "m.so", "in any module directory"));
	CU_ASSERT_TRUE(has("message", refusal.message, "none configured"));
	end();
}

static void test_links(void)
{
	begin();
	CU_ASSERT_EQUAL(symlink("m.so", in("up/mods/near.so")), 0);
	CU_ASSERT_EQUAL(symlink("/etc/passwd", in("up/mods/far.so")), 0);
	CU_ASSERT_EQUAL(symlink("nowhere", in("up/mods/broken.so")), 0);
	CU_ASSERT_EQUAL(symlink("loop.so", in("up/mods/loop.so")), 0);
	CU_ASSERT_TRUE(refused("near", "", "symlink", "/near.so", "a symbolic link to m.so"));
	CU_ASSERT_TRUE(refused("far", "", "symlink", "/far.so", "a symbolic link to /etc/passwd"));
	CU_ASSERT_TRUE(refused("broken", "", "symlink", "/broken.so", "link to nowhere"));
	CU_ASSERT_TRUE(refused("loop", "", "symlink", "/loop.so", "link to loop.so"));
	CU_ASSERT_TRUE(refused("m", in("up/mods/near.so"), "symlink", "/near.so", "link to m.so"));
	end();
}

static void test_odd_files(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	begin();
	CU_ASSERT_EQUAL(mkdir(in("up/mods/dir.so"), 0755), 0);
	CU_ASSERT_EQUAL(mkfifo(in("up/mods/pipe.so"), 0644), 0);
	put(in("up/mods/empty.so"), "", 0644);
	put(in("up/mods/big.so"), "", 0644);
	CU_ASSERT_EQUAL(truncate(in("up/mods/big.so"), (256ll << 20) + 1), 0);
	CU_ASSERT_TRUE(refused("dir", "", "not_a_file", "/dir.so", "a directory"));
	CU_ASSERT_TRUE(refused("pipe", "", "not_a_file", "/pipe.so", "not a regular file"));
	CU_ASSERT_TRUE(refused("null", "/dev/null", "not_a_file", "/dev/null", "not a regular"));
	CU_ASSERT_TRUE(refused("empty", "", "empty", "/empty.so", "an empty file"));
	CU_ASSERT_TRUE(refused("big", "", "too_big", "/big.so", "268435457 bytes"));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(in("up/mods/s.so")) < sizeof(un.sun_path)) {
		memcpy(un.sun_path, in("up/mods/s.so"), strlen(in("up/mods/s.so")));
		CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
		CU_ASSERT_TRUE(refused("s", "", "not_a_file", "/s.so", "not a regular file"));
	}
	close(fd);
	end();
}

struct mode_row {
	const char *path; /* below TOP, or "" for it */
	mode_t mode;
	bool foreign_group;
	const char *found; /* NULL: taken */
	const char *remedy;
};

static const struct mode_row mode_rows[] = {
	/* the file */
	{"up/mods/m.so", 0600, false, NULL, NULL},
	{"up/mods/m.so", 0755, false, NULL, NULL},
	{"up/mods/m.so", 0777, false, "mode 0777", "chmod o-w"},
	{"up/mods/m.so", 0646, false, "mode 0646", "chmod o-w"},
	{"up/mods/m.so", 01646, false, "mode 1646", "chmod o-w"}, /* sticky is for directories */
	{"up/mods/m.so", 0664, false, NULL, NULL},                /* our own group */
	{"up/mods/m.so", 0664, true, "mode 0664, group 1234", "chmod g-w"},
	{"up/mods/m.so", 0644, true, NULL, NULL},
	/* its directory */
	{"up/mods", 0700, false, NULL, NULL},
	{"up/mods", 0777, false, "mode 0777", "chmod o-w"},
	{"up/mods", 0775, false, NULL, NULL},
	{"up/mods", 0775, true, "mode 0775, group 1234", "chmod g-w"},
	{"up/mods", 02755, true, NULL, NULL},
	/* the one above, and the one above that */
	{"up", 0777, false, "mode 0777", "chmod o-w"},
	{"up", 0770, true, "mode 0770, group 1234", "chmod g-w"},
	{"", 0757, false, "mode 0757", "chmod o-w"},
};

static void test_modes(void)
{
	begin();
	for (size_t i = 0; i < sizeof(mode_rows) / sizeof(mode_rows[0]); i++) {
		const struct mode_row *r = &mode_rows[i];
		const char *path = in("%s", r->path);
		struct stat st;
		if (r->foreign_group && !is_root()) {
			continue;
		}
		CU_ASSERT_EQUAL_FATAL(stat(path, &st), 0);
		if (r->foreign_group) {
			CU_ASSERT_EQUAL(chown(path, (uid_t)-1, STRANGER), 0);
		} else {
			CU_ASSERT_EQUAL(chown(path, (uid_t)-1, getegid()), 0);
		}
		CU_ASSERT_EQUAL(chmod(path, r->mode), 0);
		bool good = r->found == NULL ? taken("m", "", "abc")
		                             : refused_with("m", "", "", "writable",
		                                            r->path[0] != '\0' ? r->path : top,
		                                            r->found, r->remedy);
		if (!good) {
			printf("# row %zu\n", i);
			CU_FAIL("another verdict");
		}
		/* by its path the same rules hold */
		CU_ASSERT_EQUAL(taken("m", in("up/mods/m.so"), "abc"), r->found == NULL);
		CU_ASSERT_EQUAL(chown(path, (uid_t)-1, st.st_gid), 0);
		CU_ASSERT_EQUAL(chmod(path, st.st_mode & 07777), 0);
	}
	end();
}

/* The file or directory that is named is the one at fault, not the file that was asked for. */
static void test_owners(void)
{
	static const char *const paths[] = {"up/mods/m.so", "up/mods", "up"};

	begin();
	if (is_root()) {
		for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
			CU_ASSERT_EQUAL(chown(in("%s", paths[i]), STRANGER, (gid_t)-1), 0);
			CU_ASSERT_TRUE(refused_with("m", "", "", "owner", paths[i], "owner 1234",
			                            "chown"));
			CU_ASSERT_STRING_EQUAL(refusal.file, in("%s", paths[i]));
			CU_ASSERT_TRUE(has("expected", refusal.expected, "owner 0 (root)"));
			CU_ASSERT_EQUAL(chown(in("%s", paths[i]), 0, (gid_t)-1), 0);
		}
		/* a directory of root's that all may write is fine if sticky, a stranger's is not
		 */
		CU_ASSERT_EQUAL(chmod(in("up"), 01777), 0);
		CU_ASSERT_TRUE(taken("m", "", "abc"));
		CU_ASSERT_EQUAL(chown(in("up"), STRANGER, (gid_t)-1), 0);
		CU_ASSERT_TRUE(refused("m", "", "owner", "/up", "owner 1234"));
	}
	/* through a link: where it leads is looked at, and named */
	CU_ASSERT_EQUAL(mkdir(in("open"), 0755), 0);
	CU_ASSERT_EQUAL(mkdir(in("open/mods"), 0755), 0);
	CU_ASSERT_EQUAL(chmod(in("open"), 0777), 0);
	CU_ASSERT_EQUAL(symlink("open/mods", in("link")), 0);
	put(in("open/mods/m.so"), "abc", 0644);
	CU_ASSERT_TRUE(refused("m", in("link/m.so"), "writable", "/open", "mode 0777"));
	CU_ASSERT_STRING_EQUAL(refusal.file, in("open"));
	end();
}

static void test_hashes(void)
{
	begin();
	CU_ASSERT_TRUE(refused_with("m", "", OTHER_SHA, "sha256", "/m.so", ABC_SHA, ""));
	CU_ASSERT_STRING_EQUAL(refusal.expected, OTHER_SHA);
	static const struct {
		const char *want;
		const char *known;
		bool unchanged;
	} rows[] = {
		{ABC_SHA, "", false},        {ABC_UPPER, "", false}, {"", OTHER_SHA, false},
		{"", ABC_SHA, true},         {"", ABC_UPPER, true},  {ABC_UPPER, ABC_SHA, true},
		{ABC_SHA, OTHER_SHA, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__stage s = stage_of("m", "");
		s.want_sha = rows[i].want;
		s.known_sha = rows[i].known;
		CU_ASSERT_EQUAL(ob__stage_run(&s, &refusal), 0);
		CU_ASSERT_EQUAL(s.unchanged, rows[i].unchanged);
		CU_ASSERT_STRING_EQUAL(s.sha256, ABC_SHA);
		CU_ASSERT_EQUAL(s.size, 3);
		CU_ASSERT_EQUAL(s.staged[0] == '\0', rows[i].unchanged);
		unlink(s.staged);
	}
	/* the file that runs, but not the one that was asked for */
	struct ob__stage s = stage_of("m", "");
	s.want_sha = OTHER_SHA;
	s.known_sha = ABC_SHA;
	CU_ASSERT_EQUAL(ob__stage_run(&s, &refusal), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "sha256");
	end();
}

/* Where others could exchange the copy behind the hash, none is made. */
static void test_open_stage(void)
{
	begin();
	put(in("up/mods/m.so"), "abc", 0644);
	CU_ASSERT_EQUAL(chmod(in("stage"), 0777), 0);
	CU_ASSERT_TRUE(refused_with("m", "", "", "writable", "/stage", "mode 0777", "chmod o-w"));
	CU_ASSERT_EQUAL(chmod(in("stage"), 0700), 0);
	CU_ASSERT_TRUE(taken("m", "", "abc"));
	end();
}

static void test_no_stage(void)
{
	char longest[500];

	begin();
	struct ob__stage s = stage_of("m", "");
	s.stage_dir = "/nonexistent/stage";
	CU_ASSERT_EQUAL(ob__stage_run(&s, &refusal), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "no_stage");
	CU_ASSERT_STRING_EQUAL(refusal.found, "No such file or directory");
	CU_ASSERT_TRUE(has("remedy", refusal.remedy, "restart the node"));
	CU_ASSERT_STRING_EQUAL(s.staged, "");
	/* a path that exists is neither used nor removed */
	s = stage_of("m", "");
	put(in("stage/m.%u.so", s.number), "old", 0600);
	CU_ASSERT_EQUAL(ob__stage_run(&s, &refusal), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "no_stage");
	CU_ASSERT_STRING_EQUAL(refusal.found, "File exists");
	CU_ASSERT_EQUAL(unlink(in("stage/m.%u.so", s.number)), 0);
	/* the same for a link, wherever it leads */
	s = stage_of("m", "");
	CU_ASSERT_EQUAL(symlink(in("elsewhere"), in("stage/m.%u.so", s.number)), 0);
	CU_ASSERT_EQUAL(ob__stage_run(&s, &refusal), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "no_stage");
	CU_ASSERT_NOT_EQUAL(access(in("elsewhere"), F_OK), 0);
	CU_ASSERT_EQUAL(unlink(in("stage/m.%u.so", s.number)), 0);
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	s = stage_of("m", "");
	s.stage_dir = longest;
	s.name = "m";
	snprintf(longest + 480, 20, "%s", "end of a long name");
	s.number = 4000000000u;
	CU_ASSERT_EQUAL(ob__stage_run(&s, &refusal), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "no_stage");
	CU_ASSERT_STRING_EQUAL(s.staged, "");
	end();
}

/* Runs part of a test in a child that changes itself for good.  The child's failures are its exit
 * status; 77 is "not on this machine". */
static void in_child(bool (*part)(void), const char *what)
{
	int status = -1;

	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		bool good = part();
		fflush(NULL);
		_exit(good ? 0 : 1);
	}
	CU_ASSERT_TRUE_FATAL(pid > 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("# skipped: %s\n", what);
		return;
	}
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

/* With so many descriptors left, until it works: each failure says so and keeps none open. */
static bool few_descriptors(void)
{
	struct rlimit lim;
	int first = next_fd();
	bool good = true;
	int failed = 0;

	getrlimit(RLIMIT_NOFILE, &lim);
	for (int left = 0; left < 10; left++) {
		lim.rlim_cur = (rlim_t)(first + left);
		setrlimit(RLIMIT_NOFILE, &lim);
		struct ob__stage s = stage_of("m", "");
		int rc = ob__stage_run(&s, &refusal);
		lim.rlim_cur = (rlim_t)first + 100;
		setrlimit(RLIMIT_NOFILE, &lim);
		good = good && next_fd() == first;
		if (rc == 0) {
			unlink(s.staged);
			continue;
		}
		failed++;
		good = good && has("code", "unreadable no_stage", refusal.code) &&
		       has("found", refusal.found, "Too many open files") &&
		       has("remedy", refusal.remedy, "limit of open files");
	}
	return good && failed >= 3 && failed < 10;
}

/* The copy does not fit. */
static bool file_size_limit(void)
{
	struct rlimit lim = {.rlim_cur = 2, .rlim_max = 2};

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &lim);
	return refused_with("m", "", "", "no_stage", "/stage/m.", "File too large", "LimitFSIZE");
}

static bool mount_stage(unsigned long flags, const char *options)
{
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", in("stage"), "tmpfs", flags, options) != 0) {
		_exit(77);
	}
	return true;
}

static bool full_stage(void)
{
	static char text[200000];

	mount_stage(0, "size=64k,mode=0700");
	memset(text, 'x', sizeof(text) - 1);
	put(in("up/mods/m.so"), text, 0644);
	bool good = refused_with("m", "", "", "no_stage", "/stage/m.", "No space left",
	                         "make room in state_dir");
	/* nothing of it is left: what fits is taken then */
	put(in("up/mods/m.so"), "abc", 0644);
	good = taken("m", "", "abc") && good;
	umount(in("stage"));
	return good;
}

static bool noexec_stage(void)
{
	mount_stage(MS_NOEXEC, "mode=0700");
	bool good = refused_with("m", "", "", "no_stage", "/stage/m.", "mounted noexec", "remount");
	umount(in("stage"));
	return good;
}

static bool read_only_stage(void)
{
	mount_stage(MS_RDONLY, "mode=0700");
	bool good = refused_with("m", "", "", "no_stage", "/stage/m.", "Read-only file system",
	                         "that can be written");
	umount(in("stage"));
	return good;
}

static void test_exhausted(void)
{
	begin();
	in_child(few_descriptors, "descriptors");
	in_child(file_size_limit, "RLIMIT_FSIZE");
	in_child(full_stage, "a full staging directory needs a mount");
	in_child(noexec_stage, "a noexec staging directory needs a mount");
	in_child(read_only_stage, "a read-only staging directory needs a mount");
	end();
}

static bool forbid_openat2(uint32_t err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0) {
		_exit(77);
	}
	return true;
}

static bool same_rules(void)
{
	return taken("m", "", "abc") && taken("m", in("up/mods/m.so"), "abc") &&
	       refused("link", "", "symlink", "/link.so", "link to m.so") &&
	       refused("pipe", "", "not_a_file", "/pipe.so", "not a regular file") &&
	       refused("sub/m", "", "not_found", "sub/m.so", "no file name");
}

static bool old_kernel(void)
{
	return forbid_openat2(ENOSYS) && same_rules();
}

static bool old_sandbox(void)
{
	return forbid_openat2(EPERM) && same_rules();
}

static void test_without_openat2(void)
{
	begin();
	CU_ASSERT_EQUAL(symlink("m.so", in("up/mods/link.so")), 0);
	CU_ASSERT_EQUAL(mkfifo(in("up/mods/pipe.so"), 0644), 0);
	CU_ASSERT_EQUAL(mkdir(in("up/mods/sub"), 0755), 0);
	put(in("up/mods/sub/m.so"), "abc", 0644);
	CU_ASSERT_TRUE(same_rules());
	in_child(old_kernel, "seccomp filters");
	in_child(old_sandbox, "seccomp filters");
	end();
}

/* As another user: root's files are taken, and what it may not read says so. */
static bool as_stranger(void)
{
	put(in("up/mods/secret.so"), "abc", 0600);
	if (chown(in("stage"), STRANGER, STRANGER) != 0 || chmod(top, 0711) != 0 ||
	    setgid(STRANGER) != 0 || setuid(STRANGER) != 0) {
		_exit(77);
	}
	return taken("m", "", "abc") &&
	       refused_with("secret", "", "", "unreadable", "/secret.so", "Permission denied",
	                    "let the node's user read it");
}

static void test_stranger(void)
{
	begin();
	if (is_root()) {
		in_child(as_stranger, "another user");
	}
	end();
}

int main(void)
{
	umask(022);
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("stage", NULL, NULL);
	CU_add_test(s, "a private copy, and facts about the file", test_taken);
	CU_add_test(s, "paths, relative ones, directories that are links", test_paths);
	CU_add_test(s, "not found", test_not_found);
	CU_add_test(s, "the file is no link", test_links);
	CU_add_test(s, "other kinds of files, empty and huge ones", test_odd_files);
	CU_add_test(s, "modes of the file and the directories above", test_modes);
	CU_add_test(s, "owners", test_owners);
	CU_add_test(s, "hashes", test_hashes);
	CU_add_test(s, "a staging directory that is open to others", test_open_stage);
	CU_add_test(s, "the copy can't be made", test_no_stage);
	CU_add_test(s, "nothing left: descriptors, space, rights", test_exhausted);
	CU_add_test(s, "without openat2", test_without_openat2);
	CU_add_test(s, "another user's node", test_stranger);
	return ob__tap_run();
}
