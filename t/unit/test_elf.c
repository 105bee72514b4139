/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <CUnit/CUnit.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <obhost/obhost.h>

#include "lib/elf.h"
#include "tap.h"
#include "unit/files.h"

#if UINTPTR_MAX > 0xffffffffu
#define ELF(type) Elf64_##type
#else
#define ELF(type) Elf32_##type
#endif

/* A real module: what the host is made to take. */
static uint8_t *real;
static size_t real_len;

static int read_real(void)
{
	const char *dir = getenv("OB_MODULE_PATH");
	char path[512];

	snprintf(path, sizeof(path), "%s/route.so", dir != NULL ? dir : "modules/.libs");
	real = (uint8_t *)files_read(path, &real_len);
	return real_len > sizeof(ELF(Ehdr)) ? 0 : -1;
}

static int free_real(void)
{
	free(real);
	return 0;
}

/* A copy that ends where it says, so that a read beyond is seen. */
static int check(const uint8_t *data, size_t len, struct ob__elf_fault *fault)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	memcpy(copy, data, len);
	struct ob__elf_info info;
	int rc = ob__elf_check(copy, len, fault, &info);
	if (rc != 0 &&
	    (rc != -EINVAL || fault->code == NULL || fault->what == NULL ||
	     fault->found[0] == '\0' || fault->expected == NULL || fault->remedy == NULL)) {
		CU_FAIL_FATAL("a refusal without a reason");
	}
	if (rc == 0 && (info.note < copy || info.note + info.note_len > copy + len)) {
		CU_FAIL_FATAL("a note outside the file");
	}
	free(copy);
	return rc;
}

static void test_real(void)
{
	struct ob__elf_fault fault = {"x", "x", "x", "x", "x"};
	struct ob__elf_info info;

	CU_ASSERT_EQUAL(check(real, real_len, &fault), 0);
	CU_ASSERT_PTR_NULL(fault.code);
	CU_ASSERT_PTR_NULL(fault.what);
	CU_ASSERT_PTR_NULL(fault.expected);
	CU_ASSERT_PTR_NULL(fault.remedy);
	CU_ASSERT_STRING_EQUAL(fault.found, "");
	CU_ASSERT_EQUAL(ob__elf_check(real, real_len, &fault, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(ob__elf_check(real, real_len, &fault, &info), 0);
	CU_ASSERT_EQUAL(info.module_size, sizeof(ob_module_desc));
	CU_ASSERT_TRUE(info.constructors >= 1);
	CU_ASSERT_TRUE(info.destructors >= 1);
	CU_ASSERT_FALSE(info.has_runpath);
	CU_ASSERT_STRING_EQUAL(info.runpath, "");

	ob_note note = {0};
	CU_ASSERT_EQUAL_FATAL(info.note_len, sizeof(note) - offsetof(ob_note, magic));
	memcpy((char *)&note + offsetof(ob_note, magic), info.note, info.note_len);
	CU_ASSERT_EQUAL(note.magic, OB_MODULE_MAGIC);
	CU_ASSERT_EQUAL(note.abi_major, OB_ABI_MAJOR);
	CU_ASSERT_EQUAL(note.pointer_size, sizeof(void *));
	CU_ASSERT_STRING_EQUAL(note.name, "route");
}

/* However much is missing, it is never taken; long cuts are covered densely, the rest in steps. */
static void test_truncated(void)
{
	struct ob__elf_fault fault;
	size_t taken = 0;

	for (size_t len = 0; len < real_len; len++) {
		/* A copy per byte would take its time. */
		int rc = len < 2048 || len % 1021 == 0 ? check(real, len, &fault)
		                                       : ob__elf_check(real, len, &fault, NULL);
		taken += rc == 0;
	}
	CU_ASSERT_EQUAL(taken, 0);
}

struct row {
	const char *code;
	size_t at;
	size_t size;
	uint64_t value;
};

#define EH(field) offsetof(ELF(Ehdr), field), sizeof(((ELF(Ehdr) *)0)->field)

static const struct row rows[] = {
	{"not_elf", EI_MAG0, 1, 0},
	{"not_elf", EI_MAG1, 1, 'e'},
	{"not_elf", EI_MAG2, 1, 0},
	{"not_elf", EI_MAG3, 1, 0},
	/* the other class, and none at all */
	{"class", EI_CLASS, 1, sizeof(void *) == 8 ? ELFCLASS32 : ELFCLASS64},
	{"class", EI_CLASS, 1, ELFCLASSNONE},
	{"byte_order", EI_DATA, 1, __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 2 : 1},
	{"byte_order", EI_DATA, 1, 0},
	{"machine", EH(e_machine), EM_NONE},
	{"machine", EH(e_machine), EM_SPARC},
	{"type", EH(e_type), ET_NONE},
	{"type", EH(e_type), ET_REL},
	{"type", EH(e_type), ET_EXEC},
	{"type", EH(e_type), ET_CORE},
	/* program headers: none, of another size, beyond the end, more than there are */
	{"malformed", EH(e_phnum), 0},
	{"malformed", EH(e_phnum), 0xffff},
	{"malformed", EH(e_phentsize), 0},
	{"malformed", EH(e_phentsize), sizeof(ELF(Phdr)) + 8},
	{"truncated", EH(e_phoff), UINT64_MAX},
	{"truncated", EH(e_phoff), UINT64_MAX - 64},
	{"truncated", EH(e_phoff), 1u << 30},
	/* section headers */
	{"malformed", EH(e_shentsize), 0},
	{"malformed", EH(e_shentsize), 1},
	{"truncated", EH(e_shoff), UINT64_MAX},
	{"truncated", EH(e_shoff), UINT64_MAX - 64},
	{"truncated", EH(e_shnum), 0xfeff},
};

static void test_header_fields(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct ob__elf_fault fault;
		uint8_t *copy = malloc(real_len);
		memcpy(copy, real, real_len);
		memcpy(copy + r->at, &r->value, r->size);
		int rc = ob__elf_check(copy, real_len, &fault, NULL);
		free(copy);
		CU_ASSERT_EQUAL(rc, -EINVAL);
		if (rc == 0 || strcmp(fault.code, r->code) != 0) {
			printf("# row %zu: %d %s, expected %s\n", i, rc, rc != 0 ? fault.code : "",
			       r->code);
			CU_FAIL("another fault");
		}
	}
}

/* Every segment and every section: its place or its size points beyond the file. */
static void test_segments_and_sections(void)
{
	ELF(Ehdr) eh;
	struct ob__elf_fault fault;
	uint8_t *copy = malloc(real_len);
	static const uint64_t places[] = {UINT64_MAX, UINT64_MAX - 7, 1ull << 40, 0x7fffffff};

	memcpy(&eh, real, sizeof(eh));
	CU_ASSERT_TRUE_FATAL(eh.e_phnum > 2 && eh.e_shnum > 2);
	for (size_t k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
		for (size_t i = 0; i < eh.e_phnum; i++) {
			size_t at = eh.e_phoff + i * sizeof(ELF(Phdr));
			ELF(Phdr) ph;
			memcpy(copy, real, real_len);
			memcpy(&ph, real + at, sizeof(ph));
			ph.p_offset = (typeof(ph.p_offset))places[k];
			memcpy(copy + at, &ph, sizeof(ph));
			CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault, NULL), -EINVAL);
			memcpy(&ph, real + at, sizeof(ph));
			ph.p_filesz = (typeof(ph.p_filesz))places[k];
			memcpy(copy + at, &ph, sizeof(ph));
			CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault, NULL), -EINVAL);
		}
		for (size_t i = 0; i < eh.e_shnum; i++) {
			size_t at = eh.e_shoff + i * sizeof(ELF(Shdr));
			ELF(Shdr) sh;
			memcpy(copy, real, real_len);
			memcpy(&sh, real + at, sizeof(sh));
			sh.sh_offset = (typeof(sh.sh_offset))places[k];
			memcpy(copy + at, &sh, sizeof(sh));
			int want = sh.sh_type == SHT_NOBITS ? 0 : -EINVAL;
			CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault, NULL), want);
			memcpy(&sh, real + at, sizeof(sh));
			sh.sh_size = (typeof(sh.sh_size))places[k];
			memcpy(copy + at, &sh, sizeof(sh));
			CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault, NULL), want);
		}
	}
	free(copy);
}

/* No dynamic section: a program header of another type in its place. */
static void test_no_dynamic(void)
{
	ELF(Ehdr) eh;
	struct ob__elf_fault fault;
	uint8_t *copy = malloc(real_len);

	memcpy(copy, real, real_len);
	memcpy(&eh, real, sizeof(eh));
	for (size_t i = 0; i < eh.e_phnum; i++) {
		ELF(Phdr) ph;
		size_t at = eh.e_phoff + i * sizeof(ph);
		memcpy(&ph, copy + at, sizeof(ph));
		ph.p_type = ph.p_type == PT_DYNAMIC ? PT_NULL : ph.p_type;
		memcpy(copy + at, &ph, sizeof(ph));
	}
	CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault, NULL), -EINVAL);
	CU_ASSERT_STRING_EQUAL(fault.code, "no_dynamic");
	free(copy);
}

/* A file stripped of its section headers is still a module. */
static void test_no_sections(void)
{
	ELF(Ehdr) eh;
	struct ob__elf_fault fault;
	uint8_t *copy = malloc(real_len);

	memcpy(copy, real, real_len);
	memcpy(&eh, real, sizeof(eh));
	eh.e_shnum = 0;
	eh.e_shoff = 0;
	memcpy(copy, &eh, sizeof(eh));
	CU_ASSERT_EQUAL(ob__elf_check(copy, real_len, &fault, NULL), 0);
	free(copy);
}

static void test_not_elf(void)
{
	static const struct {
		const char *bytes;
		const char *code;
		const char *found;
	} rows_[] = {
		{"", "empty", "empty"},
		{"\x7f", "not_elf", "not ELF"},
		{"#!/bin/sh\nexit 0\n", "not_elf", "not ELF"},
		{"\x7f"
	         "ELF",
	         "truncated", "truncated in the ELF header"},
	};

	for (size_t i = 0; i < sizeof(rows_) / sizeof(rows_[0]); i++) {
		struct ob__elf_fault fault;
		CU_ASSERT_EQUAL(
			check((const uint8_t *)rows_[i].bytes, strlen(rows_[i].bytes), &fault),
			-EINVAL);
		CU_ASSERT_STRING_EQUAL(fault.code, rows_[i].code);
		CU_ASSERT_STRING_EQUAL(fault.found, rows_[i].found);
	}
}

/* ---------------------------------------------------------------- modules built in many ways */

#define BEGIN  "#include <obhost/obhost.h>\n"
#define MODULE "OB_MODULE(m, .version = \"1\");\n"
#define BY_HAND                                                 \
	"OB_EXTERN OB_EXPORT const ob_module_desc ob_module;\n" \
	"const ob_module_desc ob_module = {.magic = OB_MODULE_MAGIC};\n"

struct variant {
	const char *source;
	const char *flags;
	const char *code;  /* NULL: taken */
	const char *found; /* part of it */
	bool cxx;
};

static const struct variant variants[] = {
	{BEGIN MODULE, "", NULL, "", false},
	/* both kinds of hash table, alone and together; stripped */
	{BEGIN MODULE, "-Wl,--hash-style=sysv", NULL, "", false},
	{BEGIN MODULE, "-Wl,--hash-style=gnu", NULL, "", false},
	{BEGIN MODULE, "-Wl,--hash-style=both", NULL, "", false},
	{BEGIN MODULE, "-s", NULL, "", false},
	{BEGIN MODULE, "-Wl,-z,noseparate-code", NULL, "", false},
	{BEGIN MODULE, "-Wl,-z,max-page-size=0x10000", NULL, "", false},
	/* thread-local storage: static refused, dynamic taken */
	{BEGIN "__thread int t; int *at(void); int *at(void) { return &t; }\n" MODULE,
         "-ftls-model=initial-exec", "static_tls", "initial-exec", false},
	{BEGIN "__thread int t; int *at(void); int *at(void) { return &t; }\n" MODULE,
         "-ftls-model=global-dynamic", NULL, "", false},
	{BEGIN MODULE, "-Wl,-z,nodelete", "nodelete", "never to be unmapped", false},
	{BEGIN MODULE, "-Wl,-z,execstack", "exec_stack", "executable", false},
	/* an absolute address in a read-only segment */
	{BEGIN
         "int x; extern int *const p; __attribute__((section(\".text\"))) int *const p = &x;\n" MODULE,
         "-Wl,-z,notext -w", "textrel", "changed when it is loaded", false},
	{BEGIN
         "__attribute__((section(\".interp\"), used)) static const char i[] = \"/ld.so\";\n" MODULE,
         "", "interp", "a program", false},
	/* no module, or something else of that name, or without the note, or with two */
	{"extern int other; int other = 1;\n", "", "not_a_module", "no symbol ob_module", false},
	{"int ob_module(void); int ob_module(void) { return 0; }\n", "", "not_a_module",
         "no symbol ob_module", false},
	{BEGIN MODULE, "-fvisibility=hidden -Wl,--exclude-libs,ALL", NULL, "", false},
	{BEGIN "static const ob_module_desc ob_module; const void *p = &ob_module;\n", "",
         "not_a_module", "no symbol ob_module", false},
	{BEGIN BY_HAND, "", "no_note", "none", false},
	{BEGIN "#define ob_module_note second\n#define ob_module third\nOB_MODULE(n,);\n"
               "#undef ob_module_note\n#undef ob_module\n" MODULE,
         "", "malformed", "2 identity notes", false},
	/* a note of another owner beside it */
	{BEGIN
         "static const struct { unsigned n, d, t; char o[8]; unsigned x; } note\n"
         "__attribute__((used, section(\".note.other\"), aligned(4))) = {6, 4, 1, \"obhos\", 1};\n" MODULE,
         "", NULL, "", false},
	/* a data member of a class that is unique in the process */
	{BEGIN "struct one { static inline int n = 1; }; int *at() { return &one::n; }\n"
               "template <class T> struct many { static T n; }; template <class T> T many<T>::n;\n"
               "int *at2() { return &many<int>::n; }\n" MODULE,
         "-std=c++20 -fgnu-unique", "gnu_unique", "N3one1nE", true},
	{BEGIN "struct one { static inline int n = 1; }; int *at() { return &one::n; }\n" MODULE,
         "-std=c++20 -fno-gnu-unique", NULL, "", true},
};

static char tmp[128];

/* Compiles C or C++ text into a shared object; its bytes to be freed, NULL: not on this machine. */
static uint8_t *build(const char *source, const char *flags, bool cxx, size_t *len)
{
	const char *compiler = getenv(cxx ? "OB_CXX" : "OB_CC");
	const char *sdk = getenv("OB_SDK_CPPFLAGS");
	char path[200];
	char command[2048];

	if (compiler == NULL || *compiler == '\0' || sdk == NULL) {
		printf("# no %s compiler\n", cxx ? "C++" : "C");
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/m.%s", tmp, cxx ? "cc" : "c");
	files_write_text(path, source);
	snprintf(command, sizeof(command), "%s -shared -fPIC -O1 %s %s %s -o %s/m.so >%s/log 2>&1",
	         compiler, sdk, flags, path, tmp, tmp);
	int status = system(command);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		printf("# does not build: %s\n", command);
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/m.so", tmp);
	return (uint8_t *)files_read(path, len);
}

static void begin(void)
{
	files_make_dir(tmp, sizeof(tmp));
}

static void end(void)
{
	files_remove(tmp);
}

static void test_variants(void)
{
	size_t built = 0;

	begin();
	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		const struct variant *v = &variants[i];
		struct ob__elf_fault fault;
		size_t len;
		uint8_t *data = build(v->source, v->flags, v->cxx, &len);
		if (data == NULL) {
			continue;
		}
		built++;
		int rc = check(data, len, &fault);
		if (rc != (v->code != NULL ? -EINVAL : 0) ||
		    (rc != 0 &&
		     (strcmp(fault.code, v->code) != 0 || strstr(fault.found, v->found) == NULL))) {
			printf("# variant %zu (%s): %s: %s\n", i, v->flags,
			       rc != 0 ? fault.code : "taken", fault.found);
			CU_FAIL("another verdict");
		}
		free(data);
	}
	CU_ASSERT_TRUE(built > 15);
	end();
}

/* What lint wants to know of modules that are taken. */
static void test_info(void)
{
	struct ob__elf_fault fault;
	struct ob__elf_info plain;
	struct ob__elf_info rich;
	size_t len;

	begin();
	uint8_t *data = build(BEGIN MODULE, "", false, &len);
	CU_ASSERT_PTR_NOT_NULL_FATAL(data);
	CU_ASSERT_EQUAL(ob__elf_check(data, len, &fault, &plain), 0);
	free(data);
	data = build(
		BEGIN
		"volatile __thread int t; extern volatile int *at(void); volatile int *at(void) { return &t; }\n"
		"__attribute__((constructor)) static void a(void) { *at() = 1; }\n"
		"__attribute__((constructor)) static void b(void) { *at() = 2; }\n"
		"__attribute__((destructor)) static void c(void) { *at() = 3; }\n" MODULE,
		"-Wl,-rpath,/opt/some\\$ORIGIN/lib -Wl,--enable-new-dtags", false, &len);
	CU_ASSERT_PTR_NOT_NULL_FATAL(data);
	CU_ASSERT_EQUAL(ob__elf_check(data, len, &fault, &rich), 0);
	free(data);
	CU_ASSERT_EQUAL(rich.constructors, plain.constructors + 2);
	CU_ASSERT_EQUAL(rich.destructors, plain.destructors + 1);
	CU_ASSERT_EQUAL(plain.exports, 0);
	CU_ASSERT_EQUAL(rich.exports, 2);                   /* t and at() */
	CU_ASSERT_PTR_NOT_NULL(strstr(rich.needed, ".so")); /* __tls_get_addr() */
	CU_ASSERT_FALSE(plain.has_tls);
	CU_ASSERT_TRUE(rich.has_tls);
	CU_ASSERT_FALSE(plain.has_runpath);
	CU_ASSERT_TRUE(rich.has_runpath);
	CU_ASSERT_STRING_EQUAL(rich.runpath, "/opt/some$ORIGIN/lib");
	end();
}

/* ---------------------------------------------------------------- patched by hand */

/* Changes program headers of a type; returns how many there were. */
static size_t patch_segments(uint8_t *copy, uint32_t type, uint32_t new_type, uint32_t set,
                             uint32_t only_if)
{
	ELF(Ehdr) eh;
	size_t n = 0;

	memcpy(&eh, copy, sizeof(eh));
	for (size_t i = 0; i < eh.e_phnum; i++) {
		ELF(Phdr) ph;
		size_t at = eh.e_phoff + i * sizeof(ph);
		memcpy(&ph, copy + at, sizeof(ph));
		if (ph.p_type == type && (ph.p_flags & only_if) == only_if) {
			ph.p_type = new_type;
			ph.p_flags |= set;
			memcpy(copy + at, &ph, sizeof(ph));
			n++;
		}
	}
	return n;
}

static void test_patched_segments(void)
{
	static const struct {
		uint32_t type;
		uint32_t new_type;
		uint32_t set;
		uint32_t only_if;
		const char *code;
		const char *found;
	} rows_[] = {
		{PT_GNU_STACK, PT_NULL, 0, 0, "exec_stack",
	         "no such header: executable by default"},
		{PT_GNU_STACK, PT_GNU_STACK, PF_X, 0, "exec_stack", "executable"},
		{PT_LOAD, PT_LOAD, PF_W, PF_X, "wx", "both writable and executable"},
		{PT_LOAD, PT_LOAD, PF_X, PF_W, "wx", "both writable and executable"},
		{PT_LOAD, PT_NULL, 0, 0, "malformed", "no segment to map"},
		{PT_LOAD, PT_NULL, 0, PF_W, "malformed", "a dynamic section outside the segments"},
		{PT_GNU_RELRO, PT_DYNAMIC, 0, 0, "malformed", ""},
		{PT_NOTE, PT_NULL, 0, 0, "no_note", "none"},
		{PT_GNU_STACK, PT_INTERP, 0, 0, "interp", "a program"},
	};
	uint8_t *copy = malloc(real_len);

	for (size_t i = 0; i < sizeof(rows_) / sizeof(rows_[0]); i++) {
		struct ob__elf_fault fault;
		memcpy(copy, real, real_len);
		CU_ASSERT_TRUE(patch_segments(copy, rows_[i].type, rows_[i].new_type, rows_[i].set,
		                              rows_[i].only_if) > 0);
		CU_ASSERT_EQUAL_FATAL(check(copy, real_len, &fault), -EINVAL);
		if (strcmp(fault.code, rows_[i].code) != 0 ||
		    strstr(fault.found, rows_[i].found) == NULL) {
			printf("# row %zu: %s: %s\n", i, fault.code, fault.found);
			CU_FAIL("another fault");
		}
	}
	free(copy);
}

/* Finds the dynamic entry of a tag in the file; 0: there is none. */
static size_t find_dyn(const uint8_t *data, int64_t tag)
{
	ELF(Ehdr) eh;

	memcpy(&eh, data, sizeof(eh));
	for (size_t i = 0; i < eh.e_phnum; i++) {
		ELF(Phdr) ph;
		memcpy(&ph, data + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		for (size_t off = 0; ph.p_type == PT_DYNAMIC && off < ph.p_filesz;
		     off += sizeof(ELF(Dyn))) {
			ELF(Dyn) d;
			memcpy(&d, data + ph.p_offset + off, sizeof(d));
			if (d.d_tag == tag) {
				return ph.p_offset + off;
			}
		}
	}
	return 0;
}

/* An entry of the dynamic section becomes another one, or points elsewhere. */
static void test_patched_dynamic(void)
{
	static const struct {
		int64_t tag;
		int64_t new_tag;
		uint64_t value;
		const char *code;
	} rows_[] = {
		{DT_FINI, DT_TEXTREL, 0, "textrel"},
		{DT_FLAGS, DT_FLAGS, DF_TEXTREL, "textrel"},
		{DT_FLAGS, DT_FLAGS, DF_STATIC_TLS, "static_tls"},
		{DT_FLAGS_1, DT_FLAGS_1, 8, "nodelete"},
		{DT_FLAGS_1, DT_FLAGS_1, 0x08000000, "type"},
		{DT_STRTAB, DT_STRTAB, UINT64_MAX - 3, "malformed"},
		{DT_STRTAB, DT_STRTAB, 0x7fffff00, "malformed"},
		{DT_STRTAB, DT_DEBUG, 0, "malformed"},
		{DT_STRSZ, DT_STRSZ, 0, "malformed"},
		{DT_STRSZ, DT_STRSZ, UINT64_MAX, "malformed"},
		{DT_STRSZ, DT_STRSZ, 3, "malformed"},
		{DT_SYMTAB, DT_SYMTAB, UINT64_MAX - 100, "malformed"},
		{DT_SYMTAB, DT_DEBUG, 0, "malformed"},
		{DT_SYMENT, DT_SYMENT, 1, "malformed"},
		{DT_GNU_HASH, DT_GNU_HASH, UINT64_MAX - 8, "malformed"},
		{DT_GNU_HASH, DT_GNU_HASH, 0, "malformed"},
		{DT_GNU_HASH, DT_DEBUG, 0, "not_a_module"},
		{DT_GNU_HASH, DT_HASH, UINT64_MAX, "malformed"},
		{DT_RELASZ, DT_RELASZ, 1u << 30, "malformed"},
		{DT_RELA, DT_RELA, UINT64_MAX, "malformed"},
		{DT_INIT_ARRAYSZ, DT_INIT_ARRAYSZ, UINT64_MAX, "malformed"},
		{DT_INIT, DT_INIT, UINT64_MAX, "malformed"},
		{DT_NEEDED, DT_NEEDED, 1u << 30, "malformed"},
		{DT_NULL, DT_DEBUG, 0, NULL}, /* there is more than one at the end */
	};
	uint8_t *copy = malloc(real_len);

	for (size_t i = 0; i < sizeof(rows_) / sizeof(rows_[0]); i++) {
		struct ob__elf_fault fault = {0};
		size_t at = find_dyn(real, rows_[i].tag);
		ELF(Dyn) d = {.d_tag = (typeof(d.d_tag))rows_[i].new_tag};
		d.d_un.d_val = (typeof(d.d_un.d_val))rows_[i].value;
		if (at == 0) {
			continue; /* another machine's linker: no such entry */
		}
		memcpy(copy, real, real_len);
		memcpy(copy + at, &d, sizeof(d));
		int rc = check(copy, real_len, &fault);
		CU_ASSERT_EQUAL(rc, rows_[i].code != NULL ? -EINVAL : 0);
		if (rc != 0 && strcmp(fault.code, rows_[i].code) != 0) {
			printf("# row %zu: %s: %s\n", i, fault.code, fault.found);
			CU_FAIL("another fault");
		}
	}
	free(copy);
}

static uint64_t seed = 88172645463325252u;

static uint64_t some(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Whatever a bit says, the check only reads what is there.  Most bits are code and data, which it
 * has no opinion about; so half of them are in the headers and the first tables. */
static void test_bit_flips(void)
{
	uint8_t *copy = malloc(real_len);
	size_t refused = 0;

	for (int i = 0; i < 3000; i++) {
		struct ob__elf_fault fault;
		uint64_t bits = (i % 2 == 0 ? real_len : 2048) * 8;
		uint64_t bit = some() % bits;
		memcpy(copy, real, real_len);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused += check(copy, real_len, &fault) != 0;
	}
	CU_ASSERT_TRUE(refused > 100);
	CU_ASSERT_TRUE(refused < 3000);
	free(copy);
}

/* Many bits at once, in the headers, the dynamic section and what it points at. */
static void test_noise(void)
{
	uint8_t *copy = malloc(real_len);
	size_t refused = 0;

	for (int i = 0; i < 2000; i++) {
		struct ob__elf_fault fault;
		memcpy(copy, real, real_len);
		for (uint64_t n = some() % 64; n > 0; n--) {
			copy[SELFMAG + some() % (4096 - SELFMAG)] = (uint8_t)some();
		}
		refused += check(copy, real_len, &fault) != 0;
	}
	CU_ASSERT_TRUE(refused > 1000);
	free(copy);
}

static void test_percents(void)
{
	for (size_t percent = 0; percent < 100; percent++) {
		struct ob__elf_fault fault;
		CU_ASSERT_EQUAL(check(real, real_len * percent / 100, &fault), -EINVAL);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("elf", read_real, free_real);
	CU_add_test(s, "a real module is taken", test_real);
	CU_add_test(s, "cut anywhere it is refused", test_truncated);
	CU_add_test(s, "each field of the header", test_header_fields);
	CU_add_test(s, "segments and sections beyond the file", test_segments_and_sections);
	CU_add_test(s, "no dynamic section", test_no_dynamic);
	CU_add_test(s, "no section headers", test_no_sections);
	CU_add_test(s, "other files", test_not_elf);
	CU_add_test(s, "built in many ways", test_variants);
	CU_add_test(s, "constructors, thread-local storage, run path", test_info);
	CU_add_test(s, "segments of other kinds", test_patched_segments);
	CU_add_test(s, "entries of the dynamic section", test_patched_dynamic);
	CU_add_test(s, "cut at every percent", test_percents);
	CU_add_test(s, "3000 single bits", test_bit_flips);
	CU_add_test(s, "noise", test_noise);
	return ob__tap_run();
}
