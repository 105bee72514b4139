/*
 * The functions of @NAME@, one by one, against the mock host: no node, no network, no waiting.
 * <obhost/mock.h> says what it can do.
 */

#include <stdio.h>
#include <string.h>

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

static void test_listens(void)
{
	json_t *conf = json_pack("{s:i}", "port", 7000);
	ob_mock *m = ob_mock_new(&ob_module, conf);

	CHECK(m && ob_mock_begin(m) == 0);
	const ob_listen_options *listener = ob_mock_listen_at(m, 0);
	CHECK(listener && listener->port == 7000 && strcmp(listener->transport, "ws") == 0);
	CHECK(ob_mock_listen_at(m, 1) == NULL);
	ob_mock_free(m);
	json_decref(conf);
}

static void test_counts_clients(void)
{
	json_t *conf = json_pack("{s:i}", "port", 7000);
	ob_mock *m = ob_mock_new(&ob_module, conf);

	CHECK(m && ob_mock_begin(m) == 0);
	ob_mock_session(m, NULL);
	ob_mock_as(m, ob_mock_session(m, NULL));
	ob_mock_reply r = ob_mock_send_json(m, 1100, OB_VIEW_CLIENT, "{}");
	json_t *body = ob_mock_reply_json(&r);
	CHECK(json_integer_value(json_object_get(body, "came")) == 2);
	json_decref(body);
	ob_mock_free(m);
	json_decref(conf);
}

static void test_needs_a_port(void)
{
	ob_mock *m = ob_mock_new(&ob_module, NULL);

	CHECK(ob_mock_begin(m) < 0);
	CHECK(strstr(ob_mock_error(m), "port") != NULL);
	ob_mock_free(m);
}

int main(void)
{
	test_listens();
	test_counts_clients();
	test_needs_a_port();
	return failures ? 1 : 0;
}
