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

static int choose(ob_mock *m, const ob_candidate *candidates, size_t len)
{
	ob_view view;
	ob_choice choice;

	memset(&view, 0, sizeof(view));
	view.size = sizeof(view);
	memset(&choice, 0, sizeof(choice));
	choice.size = sizeof(choice);
	choice.view = &view;
	choice.candidates = candidates;
	choice.len = len;
	return ob_mock_choose(m, "@NAME@", &choice);
}

static ob_candidate candidate(uint64_t node, uint32_t weight, uint32_t pending)
{
	ob_candidate c;

	memset(&c, 0, sizeof(c));
	c.size = sizeof(c);
	c.node = node;
	c.name = "node";
	c.weight = weight;
	c.pending = pending;
	return c;
}

static void test_chooses(void)
{
	ob_mock *m = ob_mock_new(&ob_module, NULL);
	ob_candidate nodes[3];

	CHECK(m && ob_mock_begin(m) == 0);

	nodes[0] = candidate(1, 100, 5);
	nodes[1] = candidate(2, 100, 2);
	nodes[2] = candidate(3, 100, 3);
	CHECK(choose(m, nodes, 1) == 0); /* the only one */
	CHECK(choose(m, nodes, 3) == 1); /* the least busy one */
	nodes[0].weight = 1000;
	CHECK(choose(m, nodes, 3) == 0); /* 5 of 1000 is less than 2 of 100 */
	CHECK(ob_mock_counter(m, "choices") == 3);
	ob_mock_free(m);
}

int main(void)
{
	test_chooses();
	return failures ? 1 : 0;
}
