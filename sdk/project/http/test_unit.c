/*
 * The functions of @NAME@, one by one, against the mock host: no node, no network, no waiting.
 * <obhost/mock.h> says what it can do.
 */

#include <stdio.h>

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

static void test_answers(void)
{
	ob_mock *m = ob_mock_new(&ob_module, NULL);

	CHECK(m && ob_mock_begin(m) == 0);

	ob_mock_reply r = ob_mock_http(m, "GET", "/@NAME@/ada", NULL, 0);
	json_t *body = ob_mock_reply_json(&r);
	const char *hello = json_string_value(json_object_get(body, "hello"));
	CHECK(r.ended && r.status == 200 && hello && hello[0] == 'a');
	CHECK(ob_mock_reply_header(m, r.req, "Cache-Control") != NULL);
	json_decref(body);

	r = ob_mock_http(m, "POST", "/@NAME@", "12345", 5);
	body = ob_mock_reply_json(&r);
	CHECK(r.status == 200 && json_integer_value(json_object_get(body, "bytes")) == 5);
	json_decref(body);

	r = ob_mock_http(m, "GET", "/@NAME@/", NULL, 0);
	CHECK(r.ended && r.status == 404);
	CHECK(ob_mock_counter(m, "requests") == 2 && ob_mock_unended(m) == 0);
	ob_mock_free(m);
}

int main(void)
{
	test_answers();
	return failures ? 1 : 0;
}
