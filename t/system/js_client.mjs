// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors
//
// js_client.mjs CLIENT: the rules of the JavaScript client at sockets and a clock that are under
// control.  Prints a line "ok NAME" or "not ok NAME: reason" for each case, and "done N" at the end.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const file = process.argv[2];
const script = createRequire(import.meta.url)(file);
const { connect, miniGame, Error: ObhostError } = await import(
	pathToFileURL(file.replace(/\.js$/, '.mjs')).href
);
const real = { setTimeout, clearTimeout, now: Date.now, random: Math.random };

/* Time that passes when told to. */
class Clock {
	constructor() {
		this.now = 1000000;
		this.serial = 0;
		this.timers = new Map();
		globalThis.setTimeout = (fn, ms) => {
			this.timers.set(++this.serial, { at: this.now + ms, fn });
			return this.serial;
		};
		globalThis.clearTimeout = (id) => this.timers.delete(id);
		Date.now = () => this.now;
	}

	pass(ms) {
		const end = this.now + ms;

		for (;;) {
			const due = [...this.timers].filter(([, t]) => t.at <= end).sort((a, b) => a[1].at - b[1].at)[0];

			if (due === undefined) {
				break;
			}
			this.timers.delete(due[0]);
			this.now = due[1].at;
			due[1].fn();
		}
		this.now = end;
	}

	restore() {
		globalThis.setTimeout = real.setTimeout;
		globalThis.clearTimeout = real.clearTimeout;
		Date.now = real.now;
		Math.random = real.random;
	}
}

class FakeSocket {
	constructor(url) {
		this.url = url;
		this.sent = [];
		this.closed = null;
		FakeSocket.all.push(this);
	}

	send(text) {
		this.sent.push(JSON.parse(text));
	}

	close(code, reason) {
		this.closed = { code, reason };
	}

	says(message) {
		this.onmessage({ data: typeof message === 'string' ? message : JSON.stringify(message) });
	}
}

const HEADER = 12; // of a packet of the obespoir protocol: its length, its id, and four bytes more

/* With packets; `sent` has what is in them. */
class FakePackets extends FakeSocket {
	send(bytes) {
		const packet = Buffer.from(bytes);
		const text = packet.subarray(HEADER).toString();

		this.sent.push({ id: packet.readInt32LE(4), data: text === '' ? undefined : JSON.parse(text) });
	}

	says(id, body) {
		const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
		const packet = Buffer.alloc(HEADER + bytes.length);

		packet.writeInt32LE(packet.length, 0);
		packet.writeInt32LE(id, 4);
		bytes.copy(packet, HEADER);
		this.onmessage({ data: new Uint8Array(packet).buffer });
	}
}

let clock;

function start(options) {
	FakeSocket.all = [];
	return connect('ws://test/', { WebSocket: FakeSocket, ...options });
}

const socket = (n = FakeSocket.all.length - 1) => FakeSocket.all[n];

function opened(options) {
	const client = start(options);

	socket().onopen({});
	return client;
}

// Packets go out and come in a little later.
const handled = () => new Promise((resolve) => setImmediate(resolve));

async function openedPackets(options) {
	const client = start({ WebSocket: FakePackets, protocol: 'obespoir', ...options });

	socket().onopen({});
	await handled();
	assert.equal(client.state, 'open');
	return client;
}

const sentData = () => socket().sent.map((message) => message.data);

async function fails(promise, kind, code) {
	const error = await promise.then(
		() => assert.fail('it did not fail'),
		(e) => e
	);

	assert.ok(error instanceof ObhostError, String(error));
	assert.equal(error.kind, kind);
	assert.equal(error.code, code);
	return error;
}

const cases = {
	'the plain script and the module are one': () => {
		assert.equal(script.connect, connect);
	},

	'a request by id and one by name get their own answers, in any order': async () => {
		const client = opened();
		const a = client.request(1000, { n: 1 });
		const b = client.request('chat.say', { n: 2 });
		const [first, second] = socket().sent;

		assert.deepEqual([first.id, first.data], [1000, { n: 1 }]);
		assert.deepEqual([second.name, second.data], ['chat.say', { n: 2 }]);
		assert.notEqual(first.seq, second.seq);
		socket().says({ id: 1, seq: second.seq, code: 200, data: 'b' });
		socket().says({ id: 1000, seq: first.seq, code: 200, data: 'a' });
		assert.deepEqual(await Promise.all([a, b]), ['a', 'b']);
	},

	'a refusal is an error with its code and text': async () => {
		const client = opened();
		const asked = client.request(1, {});

		socket().says({ id: 1, seq: socket().sent[0].seq, code: 503, data: { code: 503, error: 'no' } });
		const error = await fails(asked, 'refused', 503);
		assert.equal(error.message, 'no');
		assert.deepEqual(error.data, { code: 503, error: 'no' });
	},

	'a request ends by its deadline, and a late answer is nobody\'s': async () => {
		const client = opened({ timeout: 50 });
		const asked = client.request(1);
		const long = client.request(2, null, { timeout: 200 });

		clock.pass(50);
		await fails(asked, 'timeout', 504);
		socket().says({ id: 1, seq: socket().sent[0].seq, code: 200, data: 'late' });
		socket().says({ id: 2, seq: socket().sent[1].seq, code: 200, data: 'in time' });
		assert.equal(await long, 'in time');
	},

	'a notification asks for no answer': () => {
		const client = opened();

		assert.equal(client.notify('chat.typing', 1), true);
		assert.deepEqual(socket().sent, [{ name: 'chat.typing', one_way: true, data: 1 }]);
	},

	'pushes are heard by name, by id, and by whoever takes the rest': () => {
		const client = opened();
		const heard = [];

		client.on('said', (data) => heard.push(['name', data]));
		client.on(77, (data) => heard.push(['id', data]));
		client.on('push', (data, message) => heard.push(['rest', message.id, data]));
		socket().says({ id: 5, name: 'said', data: 1 });
		socket().says({ id: 77, data: 2 });
		socket().says({ id: 78, data: 3 });
		assert.deepEqual(heard, [['name', 1], ['id', 2], ['rest', 78, 3]]);
	},

	'a listener that throws keeps nobody from hearing': () => {
		const client = opened();
		let heard = 0;

		client.on('x', () => {
			throw new RangeError('mine');
		});
		client.on('x', () => heard++);
		socket().says({ name: 'x' });
		assert.equal(heard, 1);
		assert.throws(() => clock.pass(0), RangeError);
	},

	'what is asked before there is a connection waits for it, in order': async () => {
		const client = start();
		const order = [];

		client.notify(1, 'a');
		const asked = client.request(2, 'b');
		client.on('open', () => {
			order.push('open');
			client.notify(3, 'first');
		});
		assert.deepEqual(socket().sent, []);
		socket().onopen({});
		assert.deepEqual(order, ['open']);
		assert.deepEqual(socket().sent.map((m) => m.id), [3, 1, 2]);
		socket().says({ id: 2, seq: socket().sent[2].seq, data: 'ok' });
		assert.equal(await asked, 'ok');
	},

	'what waits is bounded': async () => {
		const client = start({ queue: 2 });

		assert.equal(client.notify(1), true);
		assert.equal(client.notify(1), true);
		assert.equal(client.notify(1), false);
		await fails(client.request(1), 'full', 503);
	},

	'a connection that breaks is made again after growing, differing pauses': async () => {
		const client = opened({ backoff: { min: 100, max: 1000, factor: 2 } });
		const pauses = [];
		const asked = client.request(1);

		client.on('lost', (ending) => pauses.push([ending.code, ending.retry]));
		Math.random = () => 0;
		socket().onclose({ code: 1006 });
		await fails(asked, 'lost', 502);
		for (let i = 0; i < 5; i++) {
			clock.pass(pauses[i][1]);
			assert.equal(FakeSocket.all.length, i + 2);
			Math.random = i % 2 ? () => 0 : () => 1;
			socket().onclose({ code: 1006 });
		}
		assert.deepEqual(pauses.map((p) => p[1]), [50, 200, 200, 800, 500, 1000]);
	},

	'after it has come back the pauses begin anew': () => {
		const client = opened({ backoff: { min: 100, max: 1000, factor: 10 } });
		const seen = [];

		Math.random = () => 1;
		client.on('lost', (ending) => seen.push(ending.retry));
		client.on('reopen', () => seen.push('reopen'));
		socket().onclose({});
		clock.pass(100);
		socket().onclose({});
		clock.pass(1000);
		socket().onopen({});
		socket().says({ name: 'x' });
		socket().onclose({});
		assert.deepEqual(seen, [100, 1000, 'reopen', 100]);
		clock.pass(100);
		socket().onopen({});
		clock.pass(5000);
		socket().onclose({});
		assert.deepEqual(seen.slice(4), ['reopen', 100]);
	},

	'a server that accepts and closes is asked less and less often': () => {
		const client = start({ backoff: { min: 100, max: 800, factor: 2 }, heartbeat: 1000 });
		const pauses = [];

		Math.random = () => 1;
		client.on('lost', (ending) => pauses.push([ending.code, ending.retry]));
		for (let i = 0; i < 6; i++) {
			socket().onopen({});
			clock.pass(1000);
			socket().says({ pong: 1 });
			if (i % 2 === 0) {
				socket().says({ close: 1013, reason: 'too many sessions' });
			}
			socket().onclose({ code: i % 2 ? 1013 : 1006 });
			clock.pass(pauses[i][1]);
			assert.equal(FakeSocket.all.length, i + 2);
		}
		assert.deepEqual(pauses.map((p) => p[0]), Array(6).fill(1013));
		assert.deepEqual(pauses.map((p) => p[1]), [100, 200, 400, 800, 800, 800]);
	},

	'the first connection is an open one, also after failed attempts': () => {
		const client = start();
		const seen = [];

		client.on('open', () => seen.push('open'));
		client.on('reopen', () => seen.push('reopen'));
		for (let i = 0; i < 2; i++) {
			socket().onclose({});
			clock.pass(1000);
			socket().onopen({});
		}
		assert.deepEqual(seen, ['open', 'reopen']);
	},

	'a kick, told in a last message or by the code alone, is final': () => {
		for (const told of [true, false]) {
			const client = opened();
			let ending;

			client.on('close', (e) => (ending = e));
			if (told) {
				socket().says({ close: 4003, reason: 'cheating' });
				socket().onclose({ code: 1006 });
			} else {
				socket().onclose({ code: 4003, reason: 'cheating' });
			}
			assert.deepEqual(ending, { code: 4003, reason: 'cheating' });
			clock.pass(1000000);
			assert.equal(FakeSocket.all.length, 1);
			assert.equal(client.state, 'closed');
		}
	},

	'a server that moves its clients gets them back': () => {
		const client = opened();

		socket().onclose({ code: 4002, reason: 'moving' });
		clock.pass(500);
		assert.equal(FakeSocket.all.length, 2);
		assert.equal(client.state, 'connecting');
	},

	'a closed client ends all there is and takes nothing more': async () => {
		const client = opened();
		const asked = client.request(1);
		let endings = 0;

		client.on('close', () => endings++);
		client.close(1000, 'bye');
		client.close();
		assert.deepEqual(socket().closed, { code: 1000, reason: 'bye' });
		await fails(asked, 'lost', 502);
		await fails(client.request(2), 'closed', 503);
		assert.equal(client.notify(2), false);
		assert.equal(endings, 1);
		assert.equal(clock.timers.size, 0);
	},

	'without reconnect the first end is the last': () => {
		const client = opened({ reconnect: false });

		socket().onclose({ code: 1001 });
		assert.equal(client.state, 'closed');
		assert.equal(clock.timers.size, 0);
	},

	'a connection that does not open is given up': () => {
		start({ connectTimeout: 100, backoff: { min: 10, max: 10, factor: 1 } });
		clock.pass(100);
		assert.notEqual(socket(0).closed, null);
		clock.pass(10);
		assert.equal(FakeSocket.all.length, 2);
	},

	'silence is asked about once, and then taken for the end': () => {
		const client = opened({ heartbeat: 100, backoff: { min: 10, max: 10, factor: 1 } });
		const first = socket();

		clock.pass(100);
		assert.deepEqual(first.sent, [{ ping: 1 }]);
		first.says({ pong: 1 });
		clock.pass(99);
		assert.equal(client.state, 'open');
		clock.pass(201);
		assert.notEqual(first.closed, null);
		clock.pass(10);
		assert.equal(FakeSocket.all.length, 2);
	},

	'an idle connection that answers every ping stays, however late the timers are': () => {
		const lates = [2, 2, 30, 0, 500];
		const exact = globalThis.setTimeout;

		globalThis.setTimeout = (fn, ms) => {
			lates.push(lates.shift());
			return exact(fn, ms + lates[0]);
		};
		const client = opened({ heartbeat: 1000 });

		socket().send = () => exact(() => socket().says({ pong: 1 }), 20);
		clock.pass(120000);
		assert.equal(client.state, 'open');
		assert.equal(FakeSocket.all.length, 1);
	},

	'a server that speaks is not asked, and one that stops is found in time': () => {
		const client = opened({ heartbeat: 100 });

		for (let i = 0; i < 10; i++) {
			clock.pass(90);
			socket().says({ name: 'x' });
		}
		assert.deepEqual(socket().sent, []);
		clock.pass(100);
		assert.deepEqual(socket().sent, [{ ping: 1 }]);
		clock.pass(99);
		assert.equal(client.state, 'open');
		clock.pass(1);
		assert.equal(client.state, 'waiting');
	},

	'what an old socket still says is not heard': () => {
		const client = opened({ connectTimeout: 100, backoff: { min: 10, max: 10, factor: 1 } });
		const first = socket();
		let heard = 0;

		client.on('x', () => heard++);
		first.onclose({});
		clock.pass(10);
		socket().onopen({});
		first.says({ name: 'x' });
		first.onclose({});
		assert.equal(heard, 0);
		assert.equal(client.state, 'open');
	},

	'what is no JSON ends the connection': () => {
		const client = opened();
		let ending;

		client.on('close', (e) => (ending = e));
		socket().says('{');
		assert.equal(ending.code, 1007);
	},

	'a send that throws is a request that is lost': async () => {
		const client = opened();

		socket().send = () => {
			throw new TypeError('gone');
		};
		await fails(client.request(1), 'lost', 502);
		assert.equal(client.pending.size, 0);
	},

	'sockets of mini-games': async () => {
		const hooks = {};
		const sent = [];
		const task = {
			onOpen: (fn) => (hooks.open = fn),
			onMessage: (fn) => (hooks.message = fn),
			onClose: (fn) => (hooks.close = fn),
			onError: (fn) => (hooks.error = fn),
			send: ({ data }) => sent.push(JSON.parse(data)),
			close: (options) => (hooks.closed = options),
		};
		const platform = {
			connectSocket: ({ url }) => {
				hooks.url = url;
				return task;
			},
		};
		const client = connect('wss://game/', { socket: miniGame(platform) });
		const asked = client.request(9, 'x');

		assert.equal(hooks.url, 'wss://game/');
		hooks.open({});
		hooks.message({ data: JSON.stringify({ id: 9, seq: sent[0].seq, data: 'y' }) });
		assert.equal(await asked, 'y');
		client.close(1000, 'bye');
		assert.deepEqual(hooks.closed, { code: 1000, reason: 'bye' });
	},

	'a session is resumed: what was not heard is sent again, what was missed counts, requests go on':
		async () => {
			const client = start({ resume: true });
			const got = [];
			const how = [];

			client.on('p', (data) => got.push(data));
			client.on('reopen', (said) => how.push(said));
			const one = client.request(1, 'one');
			FakeSocket.all[0].onopen();
			assert.deepEqual(FakeSocket.all[0].sent, [{ hello: {} }]);
			FakeSocket.all[0].says({ name: 'p', id: 9, data: 'not of the session' });
			FakeSocket.all[0].says({ hello: { session: 's', token: 't', recovered: false, heard: 0 } });
			const two = client.request(2, 'two');
			const sent = FakeSocket.all[0].sent;
			assert.deepEqual(sent.slice(1).map((m) => m.data), ['one', 'two']);
			FakeSocket.all[0].says({ name: 'p', id: 9, data: 1 });
			FakeSocket.all[0].says({ id: 1, seq: sent[1].seq, code: 200, data: 'ONE' });
			assert.equal(await one, 'ONE');
			client.notify(3, 'three');
			FakeSocket.all[0].onclose({ code: 1006 });
			const four = client.request(4, 'four');
			clock.pass(60000 / 100);
			FakeSocket.all[1].onopen();
			assert.deepEqual(FakeSocket.all[1].sent, [{ resume: { token: 't', seen: 2 } }]);
			FakeSocket.all[1].says({ hello: { session: 's', token: 't', recovered: true, heard: 2 } });
			FakeSocket.all[1].says({ name: 'p', id: 9, data: 2 });
			assert.deepEqual(FakeSocket.all[1].sent.slice(1).map((m) => m.data), ['three', 'four']);
			FakeSocket.all[1].says({ id: 2, seq: sent[2].seq, code: 200, data: 'TWO' });
			assert.equal(await two, 'TWO');
			assert.deepEqual(got, [1, 2]);
			FakeSocket.all[1].onclose({ code: 1006 });
			clock.pass(60000 / 100);
			FakeSocket.all[2].onopen();
			assert.deepEqual(FakeSocket.all[2].sent, [{ resume: { token: 't', seen: 4 } }]);
			FakeSocket.all[2].says({
				hello: { session: 'u', token: 'v', recovered: false, reason: 'expired', heard: 0 },
			});
			const error = await four.catch((e) => e);
			assert.equal(error.kind, 'lost');
			assert.equal(client.session, 'u');
			assert.deepEqual(how.map((h) => [h.recovered, h.reason]), [
				[true, undefined],
				[false, 'expired'],
			]);
			for (let n = 0; n < 40; n++) {
				FakeSocket.all[2].says({ name: 'p', id: 9, data: n });
			}
			assert.deepEqual(FakeSocket.all[2].sent.slice(1), [{ seen: 32 }]);
		},

	'obespoir: the next request with an id waits for the answer before it, however late': async () => {
		const client = await openedPackets({ timeout: 1000 });
		const first = client.request(7, 'a');
		const other = client.request(8, 'x');

		clock.pass(1000);
		await fails(first, 'timeout', 504);
		await fails(other, 'timeout', 504);
		const second = client.request(7, 'b', { timeout: 20000 });
		clock.pass(15000);
		await handled();
		assert.deepEqual(sentData(), ['a', 'x']);
		socket().says(7, 'to a');
		await handled();
		assert.deepEqual(sentData(), ['a', 'x', 'b']);
		socket().says(7, 'to b');
		assert.equal(await second, 'to b');
	},

	'obespoir: a request may take longer than others': async () => {
		const client = await openedPackets({ timeout: 1000 });
		const asked = client.request(7, 'a', { timeout: 100000 });
		const next = client.request(7, 'b', { timeout: 200000 });

		clock.pass(99999);
		socket().says(7, 'to a');
		assert.equal(await asked, 'to a');
		await handled();
		socket().says(7, 'to b');
		assert.equal(await next, 'to b');
	},

	'obespoir: what is never answered keeps its place for half a minute after its time': async () => {
		const client = await openedPackets({ timeout: 1000 });
		const asked = client.request(7, 'a');

		clock.pass(1000);
		await fails(asked, 'timeout', 504);
		client.request(7, 'b', { timeout: 60000 }).catch(() => {});
		clock.pass(29999);
		await handled();
		assert.deepEqual(sentData(), ['a']);
		clock.pass(1);
		await handled();
		assert.deepEqual(sentData(), ['a', 'b']);
		client.close();
		assert.equal(clock.timers.size, 0);
	},

	'obespoir: a request whose time is over before its turn is not sent': async () => {
		const client = await openedPackets({ timeout: 1000 });
		const first = client.request(7, 'a', { timeout: 5000 });
		const second = client.request(7, 'b');

		assert.equal(client.notify(7, 'c'), true);
		await handled();
		assert.deepEqual(sentData(), ['a']);
		clock.pass(1000);
		await fails(second, 'timeout', 504);
		await handled();
		assert.deepEqual(sentData(), ['a', 'c']);
		socket().says(7, 'to a');
		assert.equal(await first, 'to a');
	},

	'obespoir: notifications do not wait for answers, and an answer to one is nobody\'s': async () => {
		const client = await openedPackets({ queue: 4 });
		const heard = [];

		client.on(7, (data) => heard.push(data));
		for (let i = 0; i < 100; i++) {
			assert.equal(client.notify(6, i), true);
		}
		await handled();
		assert.equal(socket().sent.length, 100);
		assert.equal(client.notify(7, 'n'), true);
		const asked = client.request(7, 'r');
		await handled();
		assert.deepEqual(sentData().slice(100), ['n', 'r']);
		socket().says(7, 'to n');
		socket().says(7, 'to r');
		assert.equal(await asked, 'to r');
		socket().says(7, 'a push');
		await handled();
		assert.deepEqual(heard, ['a push']);
		assert.equal(client.notify(7, 'n'), true);
		clock.pass(30000);
		socket().says(7, 'a push again');
		await handled();
		assert.deepEqual(heard, ['a push', 'a push again']);
		assert.equal(clock.timers.size, 0);
	},

	'obespoir: what waits for answers is bounded': async () => {
		const client = await openedPackets({ queue: 2 });
		const asked = [7, 7, 7, 8].map((id) => client.request(id));

		await fails(client.request(7), 'full', 503);
		assert.equal(client.notify(7), false);
		assert.equal(client.notify(8), true);
		await handled();
		assert.deepEqual(socket().sent.map((message) => message.id), [7, 8, 8]);
		socket().says(7, 1);
		await handled();
		assert.equal(client.notify(7), true);
		client.close();
		await Promise.all(asked.slice(1).map((one) => fails(one, 'lost', 502)));
		assert.equal(clock.timers.size, 0);
	},

	'obespoir: what is no JSON comes as its bytes': async () => {
		const client = await openedPackets();
		const heard = [];

		client.on(6, (data) => heard.push(data));
		const asked = client.request(7);
		socket().says(6, Buffer.from([1, 2, 3]));
		socket().says(6, Buffer.from([34, 255, 34]));
		socket().says(6, { n: 1 });
		socket().says(7, Buffer.from('{"cut'));
		assert.deepEqual(await asked, new Uint8Array(Buffer.from('{"cut')));
		assert.deepEqual(heard, [new Uint8Array([1, 2, 3]), new Uint8Array([34, 255, 34]), { n: 1 }]);
		assert.equal(client.state, 'open');
	},

	'a session is not resumed with the obespoir protocol': () => {
		assert.throws(() => start({ resume: true, protocol: 'obespoir' }), /json protocol/);
	},

	'without any WebSocket it says what is missing': () => {
		const global = globalThis.WebSocket;

		globalThis.WebSocket = undefined;
		try {
			assert.throws(() => connect('ws://x/'), /options\.WebSocket/);
		} finally {
			globalThis.WebSocket = global;
		}
	},
};

let run = 0;
for (const [name, fn] of Object.entries(cases)) {
	clock = new Clock();
	try {
		await fn();
		console.log(`ok ${name}`);
	} catch (error) {
		console.log(`not ok ${name}: ${error.stack.replace(/\n/g, ' | ')}`);
	}
	clock.restore();
	run++;
}
console.log(`done ${run}`);
