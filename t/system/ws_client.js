// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors
//
// ws_client.js PORT ID JSON [ID JSON]...: sends the messages with the npm package `ws`, each when the
// one before has been answered, and prints the answers, a line "ID JSON" each. Exit status 1 when
// something is wrong, 3 when there is no such package.
'use strict';

let WebSocket;
try {
	WebSocket = require('ws');
} catch (error) {
	console.error(error.message);
	process.exit(3);
}

const HEADER = 12;
const [port, ...words] = process.argv.slice(2);
const ws = new WebSocket(`ws://127.0.0.1:${port}/`);
let received = Buffer.alloc(0);

function fail(text) {
	console.error(text);
	process.exit(1);
}

function sendNext() {
	if (words.length === 0) {
		ws.close(1000);
		return;
	}
	const [id, body] = words.splice(0, 2);
	const payload = Buffer.from(body);
	const header = Buffer.alloc(HEADER);
	header.writeInt32LE(HEADER + payload.length, 0);
	header.writeInt32LE(Number(id), 4);
	ws.send(Buffer.concat([header, payload]));
}

ws.on('open', () => {
	const wanted = process.env.OB_WS_EXTENSIONS; // unset: any
	if (wanted !== undefined && ws.extensions !== wanted) {
		fail(`the extensions are "${ws.extensions}"`);
	}
	sendNext();
});
ws.on('message', (data, isBinary) => {
	if (!isBinary) {
		fail('a text message came');
	}
	received = Buffer.concat([received, data]);
	while (received.length >= HEADER && received.length >= received.readInt32LE(0)) {
		const length = received.readInt32LE(0);
		if (length < HEADER) {
			fail(`a packet of length ${length}`);
		}
		const answer = JSON.parse(received.subarray(HEADER, length).toString());
		console.log(`${received.readInt32LE(4)} ${JSON.stringify(answer)}`);
		received = received.subarray(length);
		sendNext();
	}
});
ws.on('error', (error) => fail(error.message));
ws.on('close', (code) => process.exit(code === 1000 && words.length === 0 ? 0 : 1));
setTimeout(() => fail('no answer within 10 s'), 10000);
