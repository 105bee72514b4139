// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors
//
// js_client_live.mjs CLIENT URL: the JavaScript client at a node, by the npm package `ws`.  The node
// answers message 30000 with what it got; "test.push" pushes its payload back as "test.pushed".
// Exit status 3 when there is no such package.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [file, url] = process.argv.slice(2);
const require = createRequire(import.meta.url);
let WebSocket;
try {
	WebSocket = require('ws');
} catch (error) {
	console.error(error.message);
	process.exit(3);
}
const { connect } = require(file);
const client = connect(url, { WebSocket, timeout: 10000, backoff: { min: 50, max: 200 } });
const next = (name) => new Promise((resolve) => client.once(name, resolve));

setTimeout(() => {
	console.error('not done within 30 s');
	process.exit(1);
}, 30000).unref();

const early = client.request(30000, { early: true });
assert.deepEqual(await early, { early: true });

const many = await Promise.all(Array.from({ length: 200 }, (_, n) => client.request(30000, { n })));
assert.deepEqual(many, Array.from({ length: 200 }, (_, n) => ({ n })));

assert.deepEqual(await client.request(30000, { text: 'grüße \u{1F600} "\\ \u2028' }), {
	text: 'grüße \u{1F600} "\\ \u2028',
});

const pushed = next('test.pushed');
assert.deepEqual(await client.request('test.push', { k: [1, null, 'x'] }), { sent: 1 });
assert.deepEqual(await pushed, { k: [1, null, 'x'] });

const error = await client.request(4711, {}).catch((e) => e);
assert.equal(error.kind, 'refused');
assert.equal(error.code, 404);

const silent = next('test.pushed');
assert.equal(client.notify('test.push', 'one way'), true);
assert.equal(await silent, 'one way');

const dropped = await client.request('test.drop', {}).catch((e) => e);
assert.equal(dropped.kind, 'lost');
await next('reopen');
assert.deepEqual(await client.request(30000, 'again'), 'again');

const lasting = connect(url, { WebSocket, resume: true, timeout: 10000, backoff: { min: 50, max: 200 } });
await new Promise((resolve) => lasting.once('open', resolve));
const name = lasting.session;
const heard = [];
lasting.on('test.pushed', (data) => heard.push(data));
for (let turn = 0; turn < 3; turn++) {
	const asked = Array.from({ length: 50 }, (_, n) => lasting.request('test.push', 50 * turn + n));
	const back = new Promise((resolve) => lasting.once('reopen', resolve));
	lasting.socket.terminate(); // some of them have left, some have not
	assert.equal((await back).recovered, true);
	await Promise.all(asked);
}
assert.deepEqual(heard, Array.from({ length: 150 }, (_, n) => n));
assert.equal(lasting.session, name);
lasting.close();

const closed = next('close');
client.request('test.kick', {}).catch(() => {});
assert.deepEqual(await closed, { code: 4003, reason: 'test' });
console.log('done');
