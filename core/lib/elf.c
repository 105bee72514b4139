/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#if UINTPTR_MAX > 0xffffffffu
#define ELF(type)     Elf64_##type
#define ST_BIND(info) ELF64_ST_BIND(info)
#define ST_TYPE(info) ELF64_ST_TYPE(info)
#define R_SYM(info)   ELF64_R_SYM(info)
#define OUR_CLASS     ELFCLASS64
#define GNU_HASH_WORD 8
#else
#define ELF(type)     Elf32_##type
#define ST_BIND(info) ELF32_ST_BIND(info)
#define ST_TYPE(info) ELF32_ST_TYPE(info)
#define R_SYM(info)   ELF32_R_SYM(info)
#define OUR_CLASS     ELFCLASS32
#define GNU_HASH_WORD 4
#endif

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#elif defined(__i386__)
#define OUR_MACHINE EM_386
#elif defined(__arm__)
#define OUR_MACHINE EM_ARM
#elif defined(__riscv)
#define OUR_MACHINE EM_RISCV
#elif defined(__powerpc64__)
#define OUR_MACHINE EM_PPC64
#elif defined(__s390x__)
#define OUR_MACHINE EM_S390
#else
#error "name this machine's ELF number here"
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OUR_DATA ELFDATA2LSB
#else
#define OUR_DATA ELFDATA2MSB
#endif

#ifndef DF_1_PIE
#define DF_1_PIE 0x08000000
#endif

#define OWNER        "obhost"
#define MODULE_NAME  "ob_module"
#define LOADS_MAX    64 /* segments that are mapped; modules have four */
#define NO_TAG       0
#define RELOC_WRITES 4 /* bytes a relocation changes, at least */

/* One look at one file. */
struct look {
	const uint8_t *data;
	size_t len;
	struct ob__elf_fault *fault;
	struct ob__elf_info info;
	ELF(Ehdr) eh;
	ELF(Phdr) loads[LOADS_MAX];
	size_t nloads;
	const uint8_t *dynamic;
	size_t ndynamic;
	const char *strings;
	uint64_t strings_len;
	uint64_t nsymbols;
	uint32_t notes; /* identity notes seen */
};

enum kind {
	EMPTY,
	NOT_ELF,
	CLASS,
	BYTE_ORDER,
	MACHINE,
	TYPE,
	INTERP,
	TRUNCATED,
	MALFORMED,
	NO_DYNAMIC,
	WX,
	EXEC_STACK,
	STATIC_TLS,
	NODELETE,
	TEXTREL,
	GNU_UNIQUE,
	NO_MODULE,
	NO_NOTE,
	KINDS,
};

#define AGAIN "copy or install the file again"

static const struct ob__elf_fault faults[KINDS] = {
	[EMPTY] = {"empty", "file", "a shared object", AGAIN, ""},
	[NOT_ELF] = {"not_elf", "file type", "an ELF shared object", "name the built .so", ""},
	[CLASS] = {"class", "ELF class", OUR_CLASS == ELFCLASS64 ? "64 bit" : "32 bit",
                   "rebuild the module for this machine", ""},
	[BYTE_ORDER] = {"byte_order", "byte order",
                        OUR_DATA == ELFDATA2LSB ? "little-endian" : "big-endian",
                        "rebuild the module for this machine", ""},
	[MACHINE] = {"machine", "machine", "this machine's", "rebuild the module for this machine",
                     ""},
	[TYPE] = {"type", "ELF type", "a shared object", "link the module with -shared", ""},
	[INTERP] = {"interp", "program interpreter (PT_INTERP)", "a shared object, which has none",
                    "link the module with -shared, not as a program", ""},
	[TRUNCATED] = {"truncated", "length", "a whole file", AGAIN, ""},
	[MALFORMED] = {"malformed", "headers", "headers that agree with each other", AGAIN, ""},
	[NO_DYNAMIC] = {"no_dynamic", "dynamic section", "one", "link the module with -shared", ""},
	[WX] = {"wx", "segment", "none that is both writable and executable",
                "link without -N and without a linker script that merges code and data", ""},
	[EXEC_STACK] = {"exec_stack", "stack (PT_GNU_STACK)", "one that is not executable",
                        "link with -z noexecstack; no nested functions whose address is taken; "
                        "a .note.GNU-stack section in each assembler file",
                        ""},
	[STATIC_TLS] = {"static_tls", "thread-local storage (DF_STATIC_TLS)",
                        "the dynamic model, as static space does not come back in time",
                        "compile with -ftls-model=global-dynamic, libraries linked in as well", ""},
	[NODELETE] = {"nodelete", "flags (DF_1_NODELETE)", "a module that can be unmapped",
                      "drop -z nodelete", ""},
	[TEXTREL] = {"textrel", "text relocations (DT_TEXTREL)", "none",
                     "compile everything in the module with -fPIC", ""},
	[GNU_UNIQUE] = {"gnu_unique", "symbol binding (STB_GNU_UNIQUE)",
                        "none unique in the process: the next generation would get the old one's",
                        "compile C++ with -fno-gnu-unique, or export only ob_module", ""},
	[NO_MODULE] = {"not_a_module", "exported symbols", "the object ob_module",
                       "end one source file with OB_MODULE(name, ...), and export it", ""},
	[NO_NOTE] = {"no_note", "identity note (.note.obhost)", "one, written by OB_MODULE()",
                     "rebuild the module with this host's obhost.h; don't strip .note.obhost", ""},
};

/* Bytes of a file may say anything: what is shown is printable ASCII. */
static void make_printable(char *text)
{
	for (; *text != '\0'; text++) {
		*text = (char)(*text >= 0x20 && *text < 0x7f ? *text : '?');
	}
}

__attribute__((format(printf, 3, 4))) static int fault_is(struct look *l, enum kind kind,
                                                          const char *fmt, ...)
{
	va_list ap;

	*l->fault = faults[kind];
	va_start(ap, fmt);
	vsnprintf(l->fault->found, sizeof(l->fault->found), fmt, ap);
	va_end(ap);
	make_printable(l->fault->found);
	return -EINVAL;
}

static bool within(uint64_t off, uint64_t size, uint64_t len)
{
	return off <= len && size <= len - off;
}

/* ---------------------------------------------------------------- the header */

static int check_ident(struct look *l)
{
	const uint8_t *data = l->data;

	if (l->len == 0) {
		return fault_is(l, EMPTY, "empty");
	}
	if (l->len < SELFMAG || memcmp(data, ELFMAG, SELFMAG) != 0) {
		return fault_is(l, NOT_ELF, "not ELF");
	}
	if (l->len < sizeof(ELF(Ehdr))) {
		return fault_is(l, TRUNCATED, "truncated in the ELF header");
	}
	if (data[EI_CLASS] != OUR_CLASS) {
		return fault_is(l, CLASS, "%s",
		                data[EI_CLASS] == ELFCLASS32   ? "32 bit"
		                : data[EI_CLASS] == ELFCLASS64 ? "64 bit"
		                                               : "unknown");
	}
	if (data[EI_DATA] != OUR_DATA) {
		return fault_is(l, BYTE_ORDER, "%s",
		                data[EI_DATA] == ELFDATA2LSB   ? "little-endian"
		                : data[EI_DATA] == ELFDATA2MSB ? "big-endian"
		                                               : "unknown");
	}
	return 0;
}

static int check_header(struct look *l)
{
	static const char *const types[] = {"no type", "an object file", "a program",
	                                    "a shared object", "a core dump"};

	memcpy(&l->eh, l->data, sizeof(l->eh));
	if (l->eh.e_machine != OUR_MACHINE) {
		return fault_is(l, MACHINE, "machine %u, not %u", l->eh.e_machine, OUR_MACHINE);
	}
	if (l->eh.e_type != ET_DYN) {
		return fault_is(l, TYPE, "%s",
		                l->eh.e_type < 5 ? types[l->eh.e_type] : "an unknown type");
	}
	if (l->eh.e_phnum == 0 || l->eh.e_phnum == PN_XNUM ||
	    l->eh.e_phentsize != sizeof(ELF(Phdr))) {
		return fault_is(l, MALFORMED, "%u program headers of %u bytes", l->eh.e_phnum,
		                l->eh.e_phentsize);
	}
	if (!within(l->eh.e_phoff, (uint64_t)l->eh.e_phnum * sizeof(ELF(Phdr)), l->len)) {
		return fault_is(l, TRUNCATED, "truncated: program headers beyond the file");
	}
	return 0;
}

/* ld.so reads no section headers; but they come last in a file, so a cut shows there. */
static int check_sections(struct look *l)
{
	const ELF(Ehdr) *eh = &l->eh;

	if (eh->e_shnum == 0) {
		return 0;
	}
	if (eh->e_shentsize != sizeof(ELF(Shdr))) {
		return fault_is(l, MALFORMED, "section headers of %u bytes", eh->e_shentsize);
	}
	if (!within(eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(ELF(Shdr)), l->len)) {
		return fault_is(l, TRUNCATED, "truncated: section headers beyond the file");
	}
	for (size_t i = 0; i < eh->e_shnum; i++) {
		ELF(Shdr) sh;
		memcpy(&sh, l->data + eh->e_shoff + i * sizeof(sh), sizeof(sh));
		if (sh.sh_type != SHT_NOBITS && !within(sh.sh_offset, sh.sh_size, l->len)) {
			return fault_is(l, TRUNCATED, "truncated: section %zu ends beyond the file",
			                i);
		}
	}
	return 0;
}

/* ---------------------------------------------------------------- segments */

static ELF(Phdr) segment(const struct look *l, size_t i)
{
	ELF(Phdr) ph;

	memcpy(&ph, l->data + l->eh.e_phoff + i * sizeof(ph), sizeof(ph));
	return ph;
}

/* Mapped segments come in the order of their addresses and do not overlap; the page offsets of
 * address and file agree, as mmap() wants it. */
static int check_load(struct look *l, const ELF(Phdr) * ph, size_t i)
{
	uint64_t end = (uint64_t)ph->p_vaddr + ph->p_memsz;

	if ((ph->p_flags & PF_W) != 0 && (ph->p_flags & PF_X) != 0) {
		return fault_is(l, WX, "segment %zu is both writable and executable", i);
	}
	if (ph->p_memsz < ph->p_filesz || end < ph->p_vaddr || end > UINTPTR_MAX / 2) {
		return fault_is(l, MALFORMED, "segment %zu has an impossible size", i);
	}
	if (ph->p_align > 1 && ((ph->p_align & (ph->p_align - 1)) != 0 ||
	                        ((ph->p_vaddr - ph->p_offset) & (ph->p_align - 1)) != 0)) {
		return fault_is(l, MALFORMED, "segment %zu has an impossible alignment", i);
	}
	if (l->nloads > 0) {
		const ELF(Phdr) *last = &l->loads[l->nloads - 1];
		if (ph->p_vaddr < last->p_vaddr + last->p_memsz) {
			return fault_is(l, MALFORMED, "segment %zu overlaps the one before", i);
		}
	}
	if (l->nloads == LOADS_MAX) {
		return fault_is(l, MALFORMED, "more than %d segments to map", LOADS_MAX);
	}
	l->loads[l->nloads++] = *ph;
	return 0;
}

static int check_segments(struct look *l)
{
	/* Without the header the kernel's default holds, which is executable on most machines. */
	bool stack = false;

	for (size_t i = 0; i < l->eh.e_phnum; i++) {
		ELF(Phdr) ph = segment(l, i);
		int rc = 0;
		if (!within(ph.p_offset, ph.p_filesz, l->len)) {
			return fault_is(l, TRUNCATED, "truncated: segment %zu ends beyond the file",
			                i);
		}
		if (ph.p_type == PT_LOAD) {
			rc = check_load(l, &ph, i);
		} else if (ph.p_type == PT_INTERP) {
			rc = fault_is(l, INTERP, "one: this is a program");
		} else if (ph.p_type == PT_GNU_STACK) {
			stack = true;
			rc = (ph.p_flags & PF_X) != 0 ? fault_is(l, EXEC_STACK, "executable") : 0;
		} else if (ph.p_type == PT_TLS) {
			l->info.has_tls = true;
		}
		if (rc != 0) {
			return rc;
		}
	}
	if (l->nloads == 0) {
		return fault_is(l, MALFORMED, "no segment to map");
	}
	return stack ? 0 : fault_is(l, EXEC_STACK, "no such header: executable by default");
}

/* The bytes of the file that will be at [addr, addr + size), or NULL if they are not all there. */
static const uint8_t *at(const struct look *l, uint64_t addr, uint64_t size)
{
	for (size_t i = 0; i < l->nloads; i++) {
		const ELF(Phdr) *ph = &l->loads[i];
		if (addr >= ph->p_vaddr && within(addr - ph->p_vaddr, size, ph->p_filesz)) {
			return l->data + ph->p_offset + (addr - ph->p_vaddr);
		}
	}
	return NULL;
}

/* ---------------------------------------------------------------- the dynamic section */

static int find_dynamic(struct look *l)
{
	for (size_t i = 0; i < l->eh.e_phnum; i++) {
		ELF(Phdr) ph = segment(l, i);
		if (ph.p_type != PT_DYNAMIC) {
			continue;
		}
		if (l->dynamic != NULL) {
			return fault_is(l, MALFORMED, "two dynamic sections");
		}
		l->dynamic = at(l, ph.p_vaddr, ph.p_filesz);
		if (l->dynamic == NULL || l->dynamic != l->data + ph.p_offset) {
			return fault_is(l, MALFORMED, "a dynamic section outside the segments");
		}
		size_t n = (size_t)(ph.p_filesz / sizeof(ELF(Dyn)));
		while (l->ndynamic < n) {
			ELF(Dyn) d;
			memcpy(&d, l->dynamic + l->ndynamic * sizeof(d), sizeof(d));
			if (d.d_tag == DT_NULL) {
				break;
			}
			l->ndynamic++;
		}
		if (l->ndynamic == n) {
			return fault_is(l, MALFORMED, "a dynamic section without an end");
		}
	}
	return l->dynamic != NULL ? 0 : fault_is(l, NO_DYNAMIC, "none");
}

/* The last entry of that tag counts, as for ld.so. */
static bool dynamic_value(const struct look *l, int64_t tag, uint64_t *value)
{
	bool have = false;

	*value = 0;
	for (size_t i = 0; i < l->ndynamic; i++) {
		ELF(Dyn) d;
		memcpy(&d, l->dynamic + i * sizeof(d), sizeof(d));
		if (d.d_tag == tag) {
			*value = d.d_un.d_val;
			have = true;
		}
	}
	return have;
}

static int check_flags(struct look *l)
{
	uint64_t flags;
	uint64_t flags_1;
	uint64_t unused;

	dynamic_value(l, DT_FLAGS, &flags);
	dynamic_value(l, DT_FLAGS_1, &flags_1);
	if ((flags_1 & DF_1_PIE) != 0) {
		return fault_is(l, TYPE, "a program (DF_1_PIE)");
	}
	if ((flags & DF_STATIC_TLS) != 0) {
		return fault_is(l, STATIC_TLS, "the static (initial-exec) model");
	}
	if ((flags_1 & DF_1_NODELETE) != 0) {
		return fault_is(l, NODELETE, "never to be unmapped");
	}
	if ((flags & DF_TEXTREL) != 0 || dynamic_value(l, DT_TEXTREL, &unused)) {
		return fault_is(l, TEXTREL, "code that must be changed when it is loaded");
	}
	return 0;
}

/* Tables that ld.so follows blindly: where each is and how long, or how long at least. */
static const struct {
	const char *name;
	int64_t where;
	int64_t size; /* NO_TAG: `least` bytes */
	uint32_t least;
} tables[] = {
	{"string table", DT_STRTAB, DT_STRSZ, 0},
	{"relocations", DT_RELA, DT_RELASZ, 0},
	{"relocations", DT_REL, DT_RELSZ, 0},
	{"relocations of calls", DT_JMPREL, DT_PLTRELSZ, 0},
	{"constructors", DT_INIT_ARRAY, DT_INIT_ARRAYSZ, 0},
	{"destructors", DT_FINI_ARRAY, DT_FINI_ARRAYSZ, 0},
	{"symbol table", DT_SYMTAB, NO_TAG, sizeof(ELF(Sym))},
	{"version table", DT_VERSYM, NO_TAG, sizeof(ELF(Half))},
	{"versions needed", DT_VERNEED, NO_TAG, sizeof(ELF(Verneed))},
	{"versions defined", DT_VERDEF, NO_TAG, sizeof(ELF(Verdef))},
	{"initialiser", DT_INIT, NO_TAG, 1},
	{"finaliser", DT_FINI, NO_TAG, 1},
};

static int check_tables(struct look *l)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		uint64_t where;
		uint64_t size = tables[i].least;
		if (!dynamic_value(l, tables[i].where, &where)) {
			continue;
		}
		if (tables[i].size != NO_TAG) {
			dynamic_value(l, tables[i].size, &size);
		}
		const uint8_t *p = at(l, where, size);
		if (p == NULL) {
			return fault_is(l, MALFORMED, "the %s outside the segments",
			                tables[i].name);
		}
		if (tables[i].where == DT_STRTAB) {
			l->strings = (const char *)p;
			l->strings_len = size;
		} else if (tables[i].where == DT_INIT_ARRAY) {
			l->info.constructors = (uint32_t)(size / sizeof(ELF(Addr)));
		} else if (tables[i].where == DT_FINI_ARRAY) {
			l->info.destructors = (uint32_t)(size / sizeof(ELF(Addr)));
		}
	}
	if (l->strings == NULL || l->strings_len == 0 || l->strings[l->strings_len - 1] != '\0') {
		return fault_is(l, MALFORMED, "no string table, or one without an end");
	}
	return 0;
}

/* NULL beyond the table, which ends with a NUL. */
static const char *string(const struct look *l, uint64_t off)
{
	return off < l->strings_len ? l->strings + off : NULL;
}

static void add_needed(struct look *l, const char *name)
{
	char *list = l->info.needed;
	size_t len = strlen(list);
	const char *space = len > 0 ? " " : "";

	if (len + strlen(name) + sizeof(" ?") + 1 <= sizeof(l->info.needed)) {
		snprintf(list + len, sizeof(l->info.needed) - len, "%s%s", space, name);
	} else if (len == 0 || list[len - 1] != '?') {
		snprintf(list + len, sizeof(l->info.needed) - len, "%s?", space);
	}
}

static int check_names(struct look *l)
{
	for (size_t i = 0; i < l->ndynamic; i++) {
		ELF(Dyn) d;
		memcpy(&d, l->dynamic + i * sizeof(d), sizeof(d));
		if (d.d_tag != DT_NEEDED && d.d_tag != DT_SONAME && d.d_tag != DT_RPATH &&
		    d.d_tag != DT_RUNPATH) {
			continue;
		}
		const char *name = string(l, d.d_un.d_val);
		if (name == NULL) {
			return fault_is(l, MALFORMED, "a name outside the string table");
		}
		if (d.d_tag == DT_NEEDED) {
			add_needed(l, name);
		} else if (d.d_tag == DT_RPATH || d.d_tag == DT_RUNPATH) {
			l->info.has_runpath = true;
			snprintf(l->info.runpath, sizeof(l->info.runpath), "%s", name);
			make_printable(l->info.runpath);
		}
	}
	return 0;
}

/* ---------------------------------------------------------------- symbols */

static uint32_t word(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The old hash table says how many symbols there are. */
static int count_hash(struct look *l, uint64_t addr, uint64_t *count)
{
	const uint8_t *p = at(l, addr, 8);

	if (p == NULL || word(p) == 0 ||
	    at(l, addr, 8 + 4 * ((uint64_t)word(p) + word(p + 4))) == NULL) {
		return fault_is(l, MALFORMED, "a hash table outside the segments");
	}
	*count = word(p + 4);
	return 0;
}

/* The other one does not: the last chain's end is the last symbol. */
static int count_gnu_hash(struct look *l, uint64_t addr, uint64_t *count)
{
	const uint8_t *p = at(l, addr, 16);
	uint32_t nbuckets = p != NULL ? word(p) : 0;
	uint32_t first = p != NULL ? word(p + 4) : 0;
	uint32_t nbloom = p != NULL ? word(p + 8) : 0;
	uint64_t buckets = addr + 16 + (uint64_t)nbloom * GNU_HASH_WORD;
	uint64_t chains = buckets + (uint64_t)nbuckets * 4;
	uint32_t last = 0;

	/* The filter's length is a power of two: ld.so takes it for a mask. */
	if (nbuckets == 0 || nbloom == 0 || (nbloom & (nbloom - 1)) != 0 ||
	    at(l, addr, chains - addr) == NULL) {
		return fault_is(l, MALFORMED, "a hash table outside the segments");
	}
	const uint8_t *b = at(l, buckets, (uint64_t)nbuckets * 4);
	for (uint32_t i = 0; b != NULL && i < nbuckets; i++) {
		uint32_t start = word(b + 4 * (size_t)i);
		if (start != 0 && start < first) {
			return fault_is(l, MALFORMED, "a hash bucket that begins nowhere");
		}
		last = start > last ? start : last;
	}
	*count = first;
	while (last != 0) {
		const uint8_t *chain = at(l, chains + ((uint64_t)last - first) * 4, 4);
		if (chain == NULL) {
			return fault_is(l, MALFORMED, "a hash chain without an end");
		}
		*count = (uint64_t)last + 1;
		if ((word(chain) & 1) != 0) {
			break;
		}
		last++;
	}
	return 0;
}

static int check_symbol(struct look *l, const ELF(Sym) * sym)
{
	const char *name = string(l, sym->st_name);

	if (name == NULL) {
		return fault_is(l, MALFORMED, "a symbol's name outside the string table");
	}
	if (sym->st_shndx == SHN_UNDEF) {
		return 0;
	}
	if (ST_BIND(sym->st_info) == STB_GNU_UNIQUE) {
		return fault_is(l, GNU_UNIQUE, "symbol %s", name);
	}
	if (strcmp(name, MODULE_NAME) == 0 && ST_TYPE(sym->st_info) == STT_OBJECT) {
		if (at(l, sym->st_value, sym->st_size) == NULL || sym->st_size == 0) {
			return fault_is(l, MALFORMED, MODULE_NAME " outside the segments");
		}
		l->info.module_size = (size_t)sym->st_size;
	} else if (ST_BIND(sym->st_info) != STB_LOCAL && name[0] != '_' && name[0] != '\0') {
		l->info.exports++;
	}
	return 0;
}

static int check_symbols(struct look *l)
{
	uint64_t table;
	uint64_t addr;
	uint64_t entry;
	uint64_t count = 0;
	uint64_t more = 0;
	int rc = 0;

	bool have = dynamic_value(l, DT_SYMTAB, &table);
	if (dynamic_value(l, DT_SYMENT, &entry) && entry != sizeof(ELF(Sym))) {
		return fault_is(l, MALFORMED, "symbols of another size");
	}
	if (dynamic_value(l, DT_HASH, &addr)) {
		rc = count_hash(l, addr, &count);
	}
	if (rc == 0 && dynamic_value(l, DT_GNU_HASH, &addr)) {
		rc = count_gnu_hash(l, addr, &more);
		count = more > count ? more : count;
	}
	if (rc != 0) {
		return rc;
	}
	const uint8_t *symbols = have ? at(l, table, count * sizeof(ELF(Sym))) : NULL;
	if (count > 0 && symbols == NULL) {
		return fault_is(l, MALFORMED, "the symbol table outside the segments");
	}
	l->nsymbols = count;
	for (uint64_t i = 0; rc == 0 && i < count; i++) {
		ELF(Sym) sym;
		memcpy(&sym, symbols + i * sizeof(sym), sizeof(sym));
		rc = check_symbol(l, &sym);
	}
	if (rc == 0 && l->info.module_size == 0) {
		rc = fault_is(l, NO_MODULE, "no symbol " MODULE_NAME);
	}
	return rc;
}

/* ---------------------------------------------------------------- relocations */

static bool is_writable(const struct look *l, uint64_t addr)
{
	for (size_t i = 0; i < l->nloads; i++) {
		const ELF(Phdr) *ph = &l->loads[i];
		if ((ph->p_flags & PF_W) != 0 && addr >= ph->p_vaddr &&
		    within(addr - ph->p_vaddr, RELOC_WRITES, ph->p_memsz)) {
			return true;
		}
	}
	return false;
}

/* ld.so writes wherever it is told to, and the neighbours of a module are the host's. */
static int check_reloc(struct look *l, const ELF(Rel) * r)
{
	if (r->r_info == 0) {
		return 0;
	}
	if (!is_writable(l, r->r_offset)) {
		return fault_is(l, MALFORMED, "a relocation of what is not the module's to write");
	}
	if (R_SYM(r->r_info) != 0 && R_SYM(r->r_info) >= l->nsymbols) {
		return fault_is(l, MALFORMED, "a relocation by a symbol that there is not");
	}
	return 0;
}

/* Entries begin alike, with an addend behind them or without. */
static int check_reloc_table(struct look *l, int64_t tag, int64_t size_tag, size_t entry)
{
	uint64_t where;
	uint64_t size;
	int rc = 0;

	if (!dynamic_value(l, tag, &where) || !dynamic_value(l, size_tag, &size)) {
		return 0;
	}
	const uint8_t *p = at(l, where, size);
	for (uint64_t off = 0; p != NULL && rc == 0 && within(off, entry, size); off += entry) {
		ELF(Rel) r;
		memcpy(&r, p + off, sizeof(r));
		rc = check_reloc(l, &r);
	}
	return rc;
}

static int check_relocs(struct look *l)
{
	uint64_t kind;
	uint64_t entry;

	if ((dynamic_value(l, DT_RELAENT, &entry) && entry != sizeof(ELF(Rela))) ||
	    (dynamic_value(l, DT_RELENT, &entry) && entry != sizeof(ELF(Rel)))) {
		return fault_is(l, MALFORMED, "relocations of another size");
	}
	bool calls = dynamic_value(l, DT_PLTREL, &kind);
	if (calls && kind != DT_RELA && kind != DT_REL) {
		return fault_is(l, MALFORMED, "relocations of calls of no known kind");
	}
	int rc = check_reloc_table(l, DT_RELA, DT_RELASZ, sizeof(ELF(Rela)));
	rc = rc == 0 ? check_reloc_table(l, DT_REL, DT_RELSZ, sizeof(ELF(Rel))) : rc;
	if (rc == 0 && calls) {
		rc = check_reloc_table(l, DT_JMPREL, DT_PLTRELSZ,
		                       kind == DT_RELA ? sizeof(ELF(Rela)) : sizeof(ELF(Rel)));
	}
	return rc;
}

/* ---------------------------------------------------------------- the note */

static uint64_t align_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* The notes of one segment; names and descriptions are padded to 4 bytes, in some segments to 8. */
static int look_at_notes(struct look *l, const ELF(Phdr) * ph)
{
	const uint8_t *p = l->data + ph->p_offset;
	uint64_t pad = ph->p_align == 8 ? 8 : 4;
	uint64_t off = 0;

	while (within(off, sizeof(ELF(Nhdr)), ph->p_filesz)) {
		ELF(Nhdr) nh;
		memcpy(&nh, p + off, sizeof(nh));
		uint64_t name = off + sizeof(nh);
		uint64_t desc = off + align_up(sizeof(nh) + (uint64_t)nh.n_namesz, pad);
		if (!within(name, nh.n_namesz, ph->p_filesz) ||
		    !within(desc, nh.n_descsz, ph->p_filesz)) {
			return fault_is(l, MALFORMED, "a note beyond its segment");
		}
		/* The owner's name has its NUL, and OB_MODULE() pads it to eight bytes. */
		if (nh.n_namesz >= sizeof(OWNER) && nh.n_namesz <= 8 && nh.n_type == 1 &&
		    memcmp(p + name, OWNER, sizeof(OWNER)) == 0) {
			l->info.note = p + desc;
			l->info.note_len = nh.n_descsz;
			l->notes++;
		}
		off = align_up(desc + nh.n_descsz, pad);
	}
	return 0;
}

static int check_notes(struct look *l)
{
	for (size_t i = 0; i < l->eh.e_phnum; i++) {
		ELF(Phdr) ph = segment(l, i);
		int rc = ph.p_type == PT_NOTE ? look_at_notes(l, &ph) : 0;
		if (rc != 0) {
			return rc;
		}
	}
	if (l->notes > 1) {
		return fault_is(l, MALFORMED, "%u identity notes", l->notes);
	}
	return l->notes == 1 ? 0 : fault_is(l, NO_NOTE, "none");
}

int ob__elf_check(const uint8_t *data, size_t len, struct ob__elf_fault *fault,
                  struct ob__elf_info *info)
{
	static int (*const steps[])(struct look *) = {
		check_ident,   check_header, check_sections, check_segments,
		find_dynamic,  check_flags,  check_tables,   check_names,
		check_symbols, check_relocs, check_notes,
	};
	struct look l = {.data = data, .len = len, .fault = fault};
	int rc = 0;

	*fault = (struct ob__elf_fault){NULL, NULL, NULL, NULL, ""};
	for (size_t i = 0; rc == 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
		rc = steps[i](&l);
	}
	if (info != NULL) {
		*info = rc == 0 ? l.info : (struct ob__elf_info){0};
	}
	return rc;
}
