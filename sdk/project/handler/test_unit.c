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

/* A mock host in which the module lives. */
static ob_mock *begin(const json_t *conf)
{
	ob_mock *m = ob_mock_new(&ob_module, conf);

	CHECK(m != NULL);
	if (m && ob_mock_begin(m) != 0) {
		printf("FAIL: it does not start: %s\n", ob_mock_error(m));
		failures++;
	}
	return m;
}

static void test_greets(void)
{
	ob_mock *m = begin(NULL);
	ob_mock_reply r = ob_mock_send_json(m, 1000, OB_VIEW_CLIENT, "{s:s, s:i}", "name", "ada",
	                                    "seq", 7);
	json_t *body = ob_mock_reply_json(&r);
	const char *hello = NULL;
	int seq = 0;
	int greeted = 0;

	CHECK(r.ended && r.code == OB_OK);
	CHECK(json_unpack(body, "{s:s, s:i, s:i}", "hello", &hello, "seq", &seq, "greeted",
	                  &greeted) == 0);
	CHECK(hello && hello[0] == 'a' && seq == 7 && greeted == 1);
	CHECK(ob_mock_counter(m, "greetings") == 1);
	json_decref(body);
	ob_mock_free(m);
}

static void test_refuses_what_is_no_json(void)
{
	ob_mock *m = begin(NULL);
	ob_mock_reply r = ob_mock_send(m, 1000, OB_VIEW_CLIENT, "hello", 5);

	CHECK(r.ended && r.code == OB_E_BAD && r.status == 400);
	CHECK(ob_mock_unended(m) == 0);
	ob_mock_free(m);
}

static void test_checks_its_configuration(void)
{
	json_t *conf = json_pack("{s:i}", "id", 0);
	ob_mock *m = ob_mock_new(&ob_module, conf);

	CHECK(ob_mock_begin(m) < 0);
	CHECK(ob_mock_error(m)[0] != '\0'); /* it says why */
	ob_mock_free(m);
	json_decref(conf);

	conf = json_pack("{s:i}", "id", 1234);
	m = begin(conf);
	CHECK(ob_mock_send_json(m, 1234, OB_VIEW_CLIENT, "{}").code == OB_OK);
	ob_mock_free(m);
	json_decref(conf);
}

/* The count goes on in the next generation. */
static void test_state_survives_a_swap(void)
{
	ob_mock *first = begin(NULL);

	ob_mock_send_json(first, 1000, OB_VIEW_CLIENT, "{}");
	ob_mock *next = ob_mock_next(first, &ob_module, NULL);
	CHECK(next && ob_mock_check(next) == 0 && ob_mock_start(next) == 0);
	CHECK(ob_mock_switch(first, next) == 0);
	ob_mock_reply r = ob_mock_send_json(next, 1000, OB_VIEW_CLIENT, "{}");
	json_t *body = ob_mock_reply_json(&r);
	CHECK(json_integer_value(json_object_get(body, "greeted")) == 2);
	json_decref(body);
	ob_mock_free(first);
	ob_mock_free(next);
}

int main(void)
{
	test_greets();
	test_refuses_what_is_no_json();
	test_checks_its_configuration();
	test_state_survives_a_swap();
	return failures ? 1 : 0;
}
