/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "modules/transport_enet/wire.h"

#include <arpa/inet.h>
#include <CUnit/CUnit.h>

#include "tap.h"

#define OF(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void test_look(void)
{
	static const uint8_t none[1];
	const struct {
		const uint8_t *data;
		size_t len;
		const char *from;
		uint16_t port;
		enum datagram what;
	} rows[] = {
		/* The number of a peer decides, whatever flags and session stand beside it. */
		{OF(0x0f, 0xff, 0, 1), "192.0.2.1", 7000, DATAGRAM_CONNECT},
		{OF(0x8f, 0xff, 0, 1), "192.0.2.1", 7000, DATAGRAM_CONNECT},
		{OF(0xff, 0xff, 0, 1), "127.0.0.1", 1, DATAGRAM_CONNECT},
		{OF(0x0f, 0xff), "192.0.2.1", 7000, DATAGRAM_CONNECT},
		{OF(0x0f, 0xfe, 0, 1), "192.0.2.1", 7000, DATAGRAM_OTHER},
		{OF(0x80, 0x00, 0, 1), "223.255.255.255", 65535, DATAGRAM_OTHER},
		{OF(0x00, 0x00), "1.0.0.1", 7000, DATAGRAM_OTHER},
		/* Too short for a number. */
		{OF(0x0f), "192.0.2.1", 7000, DATAGRAM_WRONG},
		{none, 0, "192.0.2.1", 7000, DATAGRAM_WRONG},
		/* Nobody can be there. */
		{OF(0x80, 0x00, 0, 1), "192.0.2.1", 0, DATAGRAM_WRONG},
		{OF(0x80, 0x00, 0, 1), "0.0.0.0", 7000, DATAGRAM_WRONG},
		{OF(0x80, 0x00, 0, 1), "0.1.2.3", 7000, DATAGRAM_WRONG},
		{OF(0x80, 0x00, 0, 1), "224.0.0.1", 7000, DATAGRAM_WRONG},
		{OF(0x0f, 0xff, 0, 1), "255.255.255.255", 7000, DATAGRAM_WRONG},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct in_addr from;
		CU_ASSERT_EQUAL(inet_pton(AF_INET, rows[i].from, &from), 1);
		CU_ASSERT_EQUAL(wire_look(rows[i].data, rows[i].len, from.s_addr, rows[i].port),
		                rows[i].what);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("enet_wire", NULL, NULL);
	CU_add_test(s, "look", test_look);
	return ob__tap_run();
}
