// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors
//
// js_client_obespoir.mjs CLIENT PLAIN SEALED TOKEN: the JavaScript client with the obespoir protocol at a
// node's listeners with encode 0 and 2, by the npm package `ws`.  The node answers message 30000 with
// what it got, and pushes as 6600 what comes as 2000.  Exit status 3 when there is no such package.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { createRequire } from 'node:module';

const [file, plain, sealed, token] = process.argv.slice(2);
const require = createRequire(import.meta.url);
let WebSocket;
try {
	WebSocket = require('ws');
} catch (error) {
	console.error(error.message);
	process.exit(3);
}
// Node 18 has it, but not as a global, and says of X25519 that it is experimental.
globalThis.crypto ??= webcrypto;
process.removeAllListeners('warning');
process.on('warning', (said) => said.name === 'ExperimentalWarning' || console.error(said));
const { connect } = require(file);
const options = { WebSocket, timeout: 10000, protocol: 'obespoir', backoff: { min: 50, max: 200 } };
const ending = (client) => new Promise((resolve) => client.once('close', resolve));

setTimeout(() => {
	console.error('not done within 30 s');
	process.exit(1);
}, 30000).unref();

async function talk(client) {
	assert.deepEqual(await client.request(30000, { early: true }), { early: true });
	const many = await Promise.all(Array.from({ length: 100 }, (_, n) => client.request(30000, { n })));
	assert.deepEqual(many, Array.from({ length: 100 }, (_, n) => ({ n })));
	const text = 'grüße \u{1F600} '.repeat(5000);
	assert.equal(await client.request(30000, text), text);
	assert.equal(await client.request(30000), undefined);

	const pushed = new Promise((resolve) => client.once(6600, resolve));
	assert.deepEqual(await client.request(2000, [1, null]), { sent: 1 });
	assert.deepEqual(await pushed, [1, null]);
	assert.equal(client.notify(30000, 'nobody waits'), true);
	assert.equal(await client.request(30000, 'behind it'), 'behind it');

	const error = await client.request(4711, {}).catch((e) => e);
	assert.deepEqual([error.kind, error.code], ['refused', 404]);
	const named = await client.request('a.name').catch((e) => e);
	assert.equal(named.kind, 'lost');

	const closed = ending(client);
	client.close();
	await closed;
}

await talk(connect(plain, options));
await talk(connect(sealed, { ...options, encode: 2, token }));

for (const other of [`not ${token}`, undefined]) {
	const end = await ending(connect(sealed, { ...options, encode: 2, token: other }));
	assert.deepEqual(end, { code: 1002, reason: 'the server does not know the token' });
}
assert.throws(() => connect(sealed, { ...options, encode: 1 }), TypeError);
assert.throws(() => connect(sealed, { WebSocket, encode: 2 }), TypeError);

// Where there is no X25519 it says so, and does not try again.
Object.defineProperty(globalThis, 'crypto', { value: {} });
const end = await ending(connect(sealed, { ...options, encode: 2, token }));
assert.equal(end.code, 1003);
assert.match(end.reason, /WebCrypto/);
console.log('done');
