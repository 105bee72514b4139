/*
 * The functions of @NAME@, one by one, against the mock host: no node, no network, no waiting.
 * <obhost/mock.h> says what it can do.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <obhost/mock.h>

OB_EXTERN OB_EXPORT const ob_module_desc ob_module; /* of src/@NAME@.c */

static int failures;

#define CHECK(what)                                                        \
	do {                                                               \
		if (!(what)) {                                             \
			failures++;                                        \
			printf("FAIL %s:%d: %s\n", __FILE__, __LINE__, #what); \
		}                                                          \
	} while (0)

static ob_mock *begin(void)
{
	ob_mock *m = ob_mock_new(&ob_module, NULL);

	CHECK(m && ob_mock_begin(m) == 0);
	return m;
}

static void test_connects(void)
{
	ob_mock *m = begin();
	char name[64];
	char text[8] = "";
	ob_err err;
	int door = -1;
	int there = -1;

	snprintf(name, sizeof(name), "test-of-@NAME@-%ld", (long)getpid());
	CHECK(ob_mock_socket(m, "@TRANSPORT@", name, false, &there, &err) == -ECONNREFUSED);
	CHECK(strstr(err.text, "nobody answers") != NULL);
	CHECK(ob_mock_socket(m, "@TRANSPORT@", name, true, &door, &err) == 0);
	CHECK(listen(door, 1) == 0);
	CHECK(ob_mock_socket(m, "@TRANSPORT@", name, false, &there, &err) == 0);
	int here = accept(door, NULL, NULL);
	CHECK(write(there, "hello", 5) == 5 && read(here, text, sizeof(text)) == 5);
	CHECK(strcmp(text, "hello") == 0);
	close(here);
	close(there);
	close(door);
	ob_mock_free(m);
}

static void test_addresses(void)
{
	static const struct {
		size_t len;
		bool good;
	} rows[] = {{0, false}, {1, true}, {107, true}, {108, false}};
	ob_mock *m = begin();
	const ob_transport *t = ob_mock_transport_at(m, 0);
	char name[128];
	ob_err err;

	CHECK(t && strcmp(t->name, "@TRANSPORT@") == 0);
	for (size_t i = 0; t && i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(name, 'x', sizeof(name));
		name[rows[i].len] = '\0';
		CHECK((t->check(ob_mock_ctx(m), name, &err) == 0) == rows[i].good);
	}
	ob_mock_free(m);
}

int main(void)
{
	test_connects();
	test_addresses();
	return failures ? 1 : 0;
}
