// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors

/*
 * A client for obhost nodes, for browsers, Node and engines with a JavaScript of their own.
 *
 *     const client = obhost.connect('wss://game.example/');
 *     client.on('chat.said', (data) => show(data));
 *     const reply = await client.request('chat.say', { text: 'hello' });
 *
 * It speaks the `json` codec: one JSON text per WebSocket message; or, with `protocol: 'obespoir'`, the
 * packets of that codec, also encrypted.  Every request ends exactly once:
 * with the answer, or with an obhost.Error that says why.  A connection that breaks is made again,
 * after pauses that grow and are never the same for two clients; what the server closed for good (a
 * kick, a second login) is not.
 *
 * This file is a plain script (it makes `obhost` global) and a CommonJS module; obhost.mjs is the ES
 * module.  It needs nothing but JSON, Promise, timers and something like a WebSocket.
 */
(function (root, make) {
	const made = make(root);

	if (typeof module === 'object' && module !== null && module.exports) {
		module.exports = made;
	}
	root[Symbol.for('obhost')] = made;
	if (typeof module !== 'object') {
		root.obhost = made;
	}
})(typeof globalThis === 'object' ? globalThis : this, function (root) {
	'use strict';

	const DEFAULTS = {
		timeout: 5000, // ms a request may take
		connectTimeout: 10000, // ms until a connection that does not open is given up
		heartbeat: 15000, // ms of silence after which the server is asked; 0: never
		backoff: { min: 500, max: 30000, factor: 2 }, // ms between attempts to connect
		reconnect: true,
		resume: false, // ask for the same session after a connection that broke
		queue: 256, // requests and notifications that wait for a connection, or for their turn
	};

	const SEEN_EVERY = 32; // messages of the server
	const STEADY_MS = 5000; // a connection that lasted so long was a good one

	// What the server says when it does not want the client back by itself.
	const FINAL = new Set([4001, 4003, 1002, 1003, 1007]);

	const REASONS = {
		timeout: 504,
		closed: 503,
		lost: 502,
		full: 503,
	};

	/* Why a request did not get its answer.  `kind`: 'refused' (the server answered so), 'timeout',
	 * 'closed' (it was never sent), 'lost' (it was sent, and nobody knows whether it was done), 'full'.
	 * `code` is the server's number or the like of it; `data` the server's whole answer. */
	class ObhostError extends Error {
		constructor(kind, message, code, data) {
			super(message);
			this.name = 'ObhostError';
			this.kind = kind;
			this.code = code !== undefined ? code : REASONS[kind];
			this.data = data;
		}
	}

	class Emitter {
		constructor() {
			this.listeners = new Map();
		}

		on(name, fn) {
			const key = String(name);

			if (!this.listeners.has(key)) {
				this.listeners.set(key, new Set());
			}
			this.listeners.get(key).add(fn);
			return this;
		}

		once(name, fn) {
			const wrapped = (...args) => {
				this.off(name, wrapped);
				fn(...args);
			};

			return this.on(name, wrapped);
		}

		off(name, fn) {
			const set = this.listeners.get(String(name));

			if (set !== undefined) {
				set.delete(fn);
			}
			return this;
		}

		// One listener that throws keeps no other from hearing of it.
		emit(name, ...args) {
			const set = this.listeners.get(String(name));

			if (set === undefined || set.size === 0) {
				return false;
			}
			for (const fn of Array.from(set)) {
				try {
					fn(...args);
				} catch (error) {
					setTimeout(() => {
						throw error;
					}, 0);
				}
			}
			return true;
		}
	}

	/* Sockets of mini-game platforms look alike but not like WebSocket: an object made by `connect`
	 * ({ url }) with onOpen(fn), onMessage(fn), onClose(fn), onError(fn), send({ data }), close({ code,
	 * reason }).  obhost.miniGame(wx) is a `socket` option for them. */
	function miniGame(platform) {
		return (url) => {
			const task = platform.connectSocket({ url });
			const socket = {
				send: (text) => task.send({ data: text }),
				close: (code, reason) => task.close({ code, reason }),
			};

			task.onOpen(() => socket.onopen && socket.onopen({}));
			task.onMessage((event) => socket.onmessage && socket.onmessage(event));
			task.onClose((event) => socket.onclose && socket.onclose(event || {}));
			task.onError((event) => socket.onerror && socket.onerror(event || {}));
			return socket;
		};
	}

	function socketMaker(options) {
		if (options.socket) {
			return options.socket;
		}
		const Socket = options.WebSocket || root.WebSocket;

		if (!Socket) {
			throw new TypeError('obhost: there is no WebSocket here; give one in options.WebSocket');
		}
		return (url) => new Socket(url);
	}

	// ---- the obespoir protocol ----

	const HEADER = 12;
	const HELLO = 37;
	const ANSWER = 69;
	const TAG = 16;
	const VERSION = 1;
	const PACKET_MAX = 16 * 1024 * 1024;
	const NUMBERS_MAX = 0x100000000; // packets with one key
	const GHOST_MS = 30000; // an answer that late is nobody else's

	// What a connection ends with that can't be used: the server would close with the same.
	class Fatal extends Error {
		constructor(code, message) {
			super(message);
			this.code = code;
		}
	}

	const utf8 = (text) => new TextEncoder().encode(text);

	// A body: what its JSON says, or the bytes if they are none.
	function parsed(bytes) {
		if (bytes.length === 0) {
			return undefined;
		}
		try {
			return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
		} catch (error) {
			return bytes;
		}
	}

	const LABEL = 'obhost-encode-2';

	function join(...parts) {
		const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));

		parts.reduce((at, part) => {
			all.set(part, at);
			return at + part.length;
		}, 0);
		return all;
	}

	// The nonce of AES-GCM for packet `number` of a direction.
	function nonce(number) {
		const bytes = new Uint8Array(12);

		new DataView(bytes.buffer).setBigUint64(4, BigInt(number));
		return bytes;
	}

	function subtle() {
		const found = root.crypto && root.crypto.subtle;

		if (!found) {
			throw new Fatal(1003, 'encode 2 needs WebCrypto, which browsers give to https pages only');
		}
		return found;
	}

	async function hmac(key, data) {
		const how = { name: 'HMAC', hash: 'SHA-256' };
		const made = await subtle().importKey('raw', key, how, false, ['sign']);

		return new Uint8Array(await subtle().sign('HMAC', made, data));
	}

	function same(a, b) {
		let differ = a.length ^ b.length;

		for (let i = 0; i < a.length; i++) {
			differ |= a[i] ^ b[i];
		}
		return differ === 0;
	}

	/* The keys of one connection with encode 2, as modules/codec_obespoir/README.md says. */
	class Sealer {
		constructor(token) {
			this.token = token;
			this.sent = 0;
			this.taken = 0;
		}

		async hello() {
			try {
				this.pair = await subtle().generateKey({ name: 'X25519' }, false, ['deriveBits']);
			} catch (error) {
				throw error instanceof Fatal
					? error
					: new Fatal(1003, `encode 2 needs X25519 in WebCrypto: ${error.message}`);
			}
			const own = new Uint8Array(await subtle().exportKey('raw', this.pair.publicKey));

			this.said = join(new Uint8Array([HELLO, 0, 0, 0, VERSION]), own);
			return this.said;
		}

		// What the server's answer and the token make of the keys.
		async derive(answer) {
			const theirs = await subtle().importKey('raw', answer.slice(5, HELLO), { name: 'X25519' }, false, []);
			const from = { name: 'X25519', public: theirs };
			const secret = await subtle().deriveBits(from, this.pair.privateKey, 256);
			const salt = this.token === undefined ? new Uint8Array(32) : await hmac(utf8(LABEL), utf8(this.token));
			const all = join(utf8(LABEL), this.said, answer.slice(0, HELLO));
			const hash = new Uint8Array(await subtle().digest('SHA-256', all));
			const info = join(utf8(LABEL), hash);
			const base = await subtle().importKey('raw', secret, 'HKDF', false, ['deriveBits']);
			const bits = await subtle().deriveBits({ name: 'HKDF', hash: 'SHA-256', salt, info }, base, 96 * 8);

			return { keys: new Uint8Array(bits), hash };
		}

		async answered(answer) {
			if (answer.length !== ANSWER || answer[4] !== VERSION) {
				throw new Fatal(1002, 'no handshake of encode 2');
			}
			const { keys, hash } = await this.derive(answer);

			if (!same(await hmac(keys.slice(64), hash), answer.slice(HELLO))) {
				throw new Fatal(1002, 'the server does not know the token');
			}
			const key = (at, use) => subtle().importKey('raw', keys.slice(at, at + 32), 'AES-GCM', false, [use]);

			this.own = await key(0, 'encrypt');
			this.theirs = await key(32, 'decrypt');
			this.pair = undefined;
		}

		// A plain packet, sealed.
		async seal(packet) {
			const head = packet.slice(0, 4);

			new DataView(head.buffer).setInt32(0, packet.length + TAG, true);
			if (this.sent >= NUMBERS_MAX) {
				throw new Fatal(1012, 'connect again: new keys');
			}
			const how = { name: 'AES-GCM', iv: nonce(this.sent++), additionalData: head };

			return join(head, new Uint8Array(await subtle().encrypt(how, this.own, packet.slice(4))));
		}

		// And back, but for its length.
		async open(packet) {
			const how = { name: 'AES-GCM', iv: nonce(this.taken++), additionalData: packet.slice(0, 4) };

			try {
				const plain = await subtle().decrypt(how, this.theirs, packet.slice(4));

				return join(packet.slice(0, 4), new Uint8Array(plain));
			} catch (error) {
				throw new Fatal(1002, 'a packet that does not open');
			}
		}
	}

	/* A socket with packets below, and the messages of the json codec above.  A packet has no place for
	 * the number of a request: of those with one message id the next goes when the one before is answered,
	 * or GHOST_MS after its time was over.  What is sent after a notification does not wait for it, but the
	 * answer that it may have within GHOST_MS is nobody's. */
	class PacketSocket {
		constructor(socket, options) {
			this.socket = socket;
			this.room = options.queue;
			this.sealer = options.encode === 2 ? new Sealer(options.token) : undefined;
			this.bytes = new Uint8Array(0);
			this.open = false;
			this.books = new Map(); // id -> what was sent and may be answered, and what waits for that
			this.waiting = 0; // in all books
			this.notified = new Set(); // what was sent without a seq, oldest first
			this.work = Promise.resolve(); // in and out, each step in its turn
			socket.binaryType = 'arraybuffer';
			socket.onopen = () => this.then(() => this.begin());
			socket.onmessage = (event) => this.then(() => this.receive(new Uint8Array(event.data)));
			socket.onerror = (event) => this.onerror(event);
			socket.onclose = (event) => this.then(() => this.ended(event));
		}

		then(step) {
			this.work = this.work.then(step).catch((error) => this.fail(error));
		}

		fail(error) {
			const code = error instanceof Fatal ? error.code : 1002;

			this.socket.onclose = null;
			try {
				this.socket.close();
			} catch (nothing) {
				// it was never open
			}
			this.ended({ code, reason: error.message });
		}

		ended(event) {
			if (!this.over) {
				this.forgetAll();
				this.onclose(event);
			}
		}

		forgetAll() {
			this.over = true;
			for (const book of this.books.values()) {
				book.sent.forEach((entry) => clearTimeout(entry.timer));
			}
			this.books.clear();
			this.notified.clear();
		}

		async begin() {
			if (this.sealer === undefined) {
				this.open = true;
				this.onopen({});
				return;
			}
			this.socket.send(await this.sealer.hello());
		}

		async receive(data) {
			this.bytes = join(this.bytes, data);
			while (!this.over && this.bytes.length >= 4) {
				const length = new DataView(this.bytes.buffer).getUint32(0, true);

				if (length < (this.open ? HEADER : ANSWER) || length > PACKET_MAX) {
					throw new Fatal(1002, 'a packet length that is none');
				}
				if (this.bytes.length < length) {
					return;
				}
				const packet = this.bytes.slice(0, length);

				this.bytes = this.bytes.slice(length);
				await this.take(packet);
			}
		}

		async take(packet) {
			if (!this.open) {
				await this.sealer.answered(packet);
				this.open = true;
				this.onopen({});
				return;
			}
			const plain = this.sealer === undefined ? packet : await this.sealer.open(packet);
			const id = new DataView(plain.buffer).getInt32(4, true);
			const data = parsed(plain.slice(HEADER));
			const book = this.books.get(id);

			if (book === undefined) {
				this.onmessage({ message: { id, data } });
				return;
			}
			const { seq } = book.sent[0];

			this.gone(book.sent[0]);
			if (seq !== undefined) {
				const refused = data && typeof data.code === 'number' && typeof data.error === 'string';

				this.onmessage({ message: { id, seq, code: refused ? data.code : 200, data } });
			}
		}

		// ---- what goes out ----

		send(text) {
			const message = JSON.parse(text);

			if (message.ping !== undefined) {
				return; // these packets know none
			}
			if (message.id === undefined) {
				throw new TypeError('the obespoir protocol has ids, and no names');
			}
			if (this.over) {
				return;
			}
			const book = this.books.get(message.id) || { sent: [], waiting: [] };

			this.books.set(message.id, book);
			if (book.waiting.length === 0 && this.mayGo(book, message)) {
				this.transmit(book, message);
				return;
			}
			if (this.waiting >= this.room) {
				throw new ObhostError('full', 'too much waits for answers');
			}
			this.waiting++;
			book.waiting.push(message);
		}

		mayGo(book, message) {
			return message.seq === undefined || book.sent.every((entry) => entry.seq === undefined);
		}

		/* The client waits for that request no more.  If it was sent, its answer may still come. */
		forget(id, seq) {
			const book = this.books.get(id);

			if (book === undefined) {
				return;
			}
			const at = book.waiting.findIndex((message) => message.seq === seq);
			const entry = book.sent.find((one) => one.seq === seq);

			if (at >= 0) {
				this.waiting--;
				book.waiting.splice(at, 1);
				this.advance(id, book);
			} else if (entry !== undefined) {
				this.linger(entry);
			}
		}

		linger(entry) {
			entry.timer = setTimeout(() => this.gone(entry), GHOST_MS);
		}

		// It has had its answer, or gets none any more.
		gone(entry) {
			const book = this.books.get(entry.id);

			clearTimeout(entry.timer);
			this.notified.delete(entry);
			book.sent.splice(book.sent.indexOf(entry), 1);
			this.advance(entry.id, book);
		}

		advance(id, book) {
			while (book.waiting.length > 0 && this.mayGo(book, book.waiting[0])) {
				this.waiting--;
				this.transmit(book, book.waiting.shift());
			}
			if (book.sent.length === 0) {
				this.books.delete(id);
			}
		}

		transmit(book, message) {
			const entry = { id: message.id, seq: message.seq };

			book.sent.push(entry);
			if (entry.seq === undefined) {
				this.notified.add(entry);
				this.linger(entry);
			}
			this.write(message);
			if (this.notified.size > this.room) {
				this.gone(this.notified.values().next().value);
			}
		}

		write(message) {
			const body = message.data === undefined ? new Uint8Array(0) : utf8(JSON.stringify(message.data));
			const head = new Uint8Array(HEADER);
			const view = new DataView(head.buffer);

			view.setInt32(0, HEADER + body.length, true);
			view.setInt32(4, message.id, true);
			this.then(async () => {
				const packet = join(head, body);

				this.socket.send(this.sealer === undefined ? packet : await this.sealer.seal(packet));
			});
		}

		close(code, reason) {
			this.then(() => this.socket.close(code, reason));
			this.forgetAll();
		}
	}

	function packetMaker(options, make) {
		if (options.encode !== 0 && options.encode !== undefined && options.encode !== 2) {
			throw new TypeError('obhost: encode is 0 or 2');
		}
		return (url) => new PacketSocket(make(url), options);
	}

	function address(target) {
		return typeof target === 'number' ? { id: target } : { name: String(target) };
	}

	class Client extends Emitter {
		constructor(url, options) {
			super();
			this.url = url;
			this.options = Object.assign({}, DEFAULTS, options);
			this.options.backoff = Object.assign({}, DEFAULTS.backoff, (options || {}).backoff);
			this.make = socketMaker(this.options);
			if (this.options.resume && this.options.protocol === 'obespoir') {
				throw new TypeError('obhost: resume is for the json protocol');
			}
			if (this.options.protocol === 'obespoir') {
				this.make = packetMaker(this.options, this.make);
				this.options.heartbeat = 0;
			} else if (this.options.encode) {
				throw new TypeError("obhost: encode is for protocol: 'obespoir'");
			}
			this.state = 'connecting'; // 'open', 'waiting', 'closed'
			this.attempt = 0; // since a good connection
			this.wasOpen = false;
			this.seq = 0;
			this.pending = new Map(); // seq -> request that was sent
			this.waiting = []; // what is to be sent once there is a connection
			this.session = undefined; // its name, with options.resume
			this.forget();
			this.dial();
		}

		/* Asks for an answer.  `target`: a message id or a name. */
		request(target, data, options) {
			const timeout = (options && options.timeout) || this.options.timeout;

			return new Promise((resolve, reject) => {
				const request = { seq: ++this.seq, resolve, reject, target };

				request.text = JSON.stringify(
					Object.assign(address(target), { seq: request.seq, data })
				);
				request.timer = setTimeout(() => {
					this.settle(request, () =>
						reject(new ObhostError('timeout', `no answer in ${timeout} ms`))
					);
				}, timeout);
				this.submit(request);
			});
		}

		/* Sends and asks for nothing.  False: it was not sent, and there is no room for it to wait. */
		notify(target, data) {
			const message = Object.assign(address(target), { one_way: true, data });

			return this.submit({ text: JSON.stringify(message) });
		}

		/* Ends the connection for good. */
		close(code, reason) {
			if (this.state === 'closed') {
				return;
			}
			this.finish(code || 1000, reason || '', false);
		}

		// ---- a session that outlives its connection ----

		/* Without a token there is nothing to come back to. */
		forget() {
			this.token = undefined;
			this.seen = 0; // messages of the server in this session
			this.told = 0; // and how many of them it knows to be seen
			this.said = 0; // messages of ours in this session
			this.unheard = []; // those of them that the server may not have had, oldest first
		}

		greet() {
			const resume = { token: this.token, seen: this.seen };

			this.socket.send(JSON.stringify(this.token ? { resume } : { hello: {} }));
		}

		welcomed(answer) {
			const wanted = (item) => item.seq === undefined || this.pending.has(item.seq);
			const again = this.unheard.filter((item) => item.number > answer.heard && wanted(item));

			this.greeting = false;
			if (!answer.recovered) {
				this.refuseAll(this.pending.values(), 'lost', `the session is over: ${answer.reason}`);
				this.forget();
				again.length = 0;
			}
			this.session = answer.session;
			this.token = answer.token;
			this.said = answer.heard;
			this.unheard = [];
			this.ready({ recovered: answer.recovered, reason: answer.reason });
			this.waiting = again.concat(this.waiting);
			this.sendWaiting();
		}

		// Every so often the server learns what it need not keep.
		count() {
			this.seen++;
			if (this.seen - this.told >= SEEN_EVERY) {
				this.tellSeen();
			}
		}

		tellSeen() {
			this.told = this.seen;
			this.socket.send(JSON.stringify({ seen: this.seen }));
		}

		note(item) {
			item.number = ++this.said;
			this.unheard.push(item);
			if (this.unheard.length > this.options.queue) {
				this.unheard.shift();
			}
		}

		// What was sent before a request that was answered has arrived as well.
		heardOf(request) {
			while (this.unheard.length > 0 && this.unheard[0].number <= request.number) {
				this.unheard.shift();
			}
		}

		// ---- requests ----

		submit(item) {
			if (this.state === 'closed') {
				this.refuse(item, 'closed', 'the client is closed');
				return false;
			}
			if (this.state === 'open') {
				return this.transmit(item);
			}
			if (this.waiting.length >= this.options.queue) {
				this.refuse(item, 'full', 'too much waits for a connection');
				return false;
			}
			this.waiting.push(item);
			return true;
		}

		transmit(item) {
			if (item.seq !== undefined) {
				this.pending.set(item.seq, item);
			}
			if (this.token) {
				this.note(item);
			}
			try {
				this.socket.send(item.text);
				return true;
			} catch (error) {
				const kind = error instanceof ObhostError ? error.kind : 'lost';

				this.refuse(item, kind, String((error && error.message) || error));
				return false;
			}
		}

		// Takes the request out of all books; `end` is its one end.
		settle(request, end) {
			clearTimeout(request.timer);
			this.pending.delete(request.seq);
			const at = this.waiting.indexOf(request);

			if (at >= 0) {
				this.waiting.splice(at, 1);
			}
			if (this.socket instanceof PacketSocket) {
				this.socket.forget(request.target, request.seq);
			}
			end();
		}

		refuse(item, kind, message) {
			if (item.seq !== undefined) {
				this.settle(item, () => item.reject(new ObhostError(kind, message)));
			}
		}

		refuseAll(items, kind, message) {
			for (const item of Array.from(items)) {
				this.refuse(item, kind, message);
			}
		}

		// ---- what comes in ----

		listened() {
			this.heard = Date.now();
			this.asked = undefined; // when a ping was sent that nothing has come after
		}

		receive(event) {
			let message = event.message; // of a PacketSocket

			this.listened();
			try {
				message = message || JSON.parse(event.data);
			} catch (error) {
				this.broken(1007, 'the server sent what is no JSON');
				return;
			}
			if (message.pong !== undefined) {
				return;
			}
			if (message.close !== undefined) {
				this.goodbye = { code: message.close, reason: message.reason || '' };
				return;
			}
			if (this.greeting) {
				if (message.hello !== undefined) {
					this.welcomed(message.hello);
				}
				return; // what comes before the answer is not of this session
			}
			this.attempt = 0;
			if (this.token) {
				this.count();
			}
			if (message.seq !== undefined) {
				this.answer(message);
				return;
			}
			this.push(message);
		}

		answer(message) {
			const request = this.pending.get(message.seq);

			if (request === undefined) {
				return; // its time was over
			}
			this.heardOf(request);
			this.settle(request, () => {
				if (message.code === undefined || message.code === 200) {
					request.resolve(message.data);
					return;
				}
				const said = message.error || (message.data && message.data.error);

				request.reject(
					new ObhostError('refused', said || `refused with ${message.code}`, message.code, message.data)
				);
			});
		}

		push(message) {
			const named = message.name !== undefined && this.emit(message.name, message.data, message);
			const numbered = message.id !== undefined && this.emit(message.id, message.data, message);

			if (!named && !numbered) {
				this.emit('push', message.data, message);
			}
		}

		// ---- the connection ----

		dial() {
			const socket = this.make(this.url);
			const mine = (fn) => (event) => {
				if (this.socket === socket) {
					fn(event);
				}
			};

			this.state = 'connecting';
			this.socket = socket;
			this.goodbye = undefined;
			this.greeting = false;
			socket.onopen = mine(() => this.opened());
			socket.onmessage = mine((event) => this.receive(event));
			socket.onerror = mine(() => {}); // onclose says it as well
			socket.onclose = mine((event) => this.ended(event || {}));
			this.timer = setTimeout(
				mine(() => this.broken(1006, 'the connection did not open')),
				this.options.connectTimeout
			);
		}

		opened() {
			if (this.options.resume) {
				this.greeting = true;
				this.greet();
				return; // until it is answered, within connectTimeout
			}
			this.ready();
			this.sendWaiting();
		}

		ready(how) {
			clearTimeout(this.timer);
			this.state = 'open';
			this.listened();
			this.beat();
			const event = this.wasOpen ? 'reopen' : 'open';

			this.wasOpen = true;
			this.opening = Date.now();
			this.emit(event, how);
		}

		sendWaiting() {
			const waiting = this.waiting;

			this.waiting = [];
			for (const item of waiting) {
				this.submit(item);
			}
		}

		// Silence: the server is asked once, and taken for gone after as long again.
		beat() {
			const every = this.options.heartbeat;
			const since = this.asked === undefined ? this.heard : this.asked;

			if (every > 0) {
				this.timer = setTimeout(() => this.listen(every), Math.min(every, since + every - Date.now()));
			}
		}

		listen(every) {
			const now = Date.now();

			if (this.asked !== undefined && now - this.asked >= every) {
				this.broken(1006, 'the server is silent');
				return;
			}
			if (this.token && this.seen > this.told) {
				this.tellSeen();
			}
			if (this.asked === undefined && now - this.heard >= every) {
				this.asked = now;
				this.socket.send('{"ping":1}');
			}
			this.beat();
		}

		// The connection is of no use: as if it had ended by itself.
		broken(code, reason) {
			const socket = this.socket;

			this.socket = undefined;
			try {
				socket.close();
			} catch (error) {
				// it was never open
			}
			this.ended({ code, reason });
		}

		ended(event) {
			const code = this.goodbye ? this.goodbye.code : event.code || 1006;
			const reason = this.goodbye ? this.goodbye.reason : event.reason || '';

			clearTimeout(this.timer);
			this.greeting = false;
			if (this.state === 'open' && Date.now() - this.opening >= STEADY_MS) {
				this.attempt = 0;
			}
			if (!this.token) {
				this.refuseAll(this.pending.values(), 'lost', 'the connection ended before the answer');
			}
			if (!this.options.reconnect || FINAL.has(code)) {
				this.finish(code, reason, true);
				return;
			}
			this.state = 'waiting';
			this.socket = undefined;
			const pause = this.pause();

			this.emit('lost', { code, reason, retry: pause });
			if (this.state === 'waiting') {
				this.timer = setTimeout(() => this.dial(), pause);
			}
		}

		/* The pause before the next attempt: a random part of a time that grows, so that those who lost
		 * the same server do not come back at once.  It grows also where each connection is accepted and
		 * closed without a word. */
		pause() {
			const { min, max, factor } = this.options.backoff;
			const top = Math.min(max, min * Math.pow(factor, this.attempt++));

			return Math.round(top / 2 + (Math.random() * top) / 2);
		}

		finish(code, reason, byServer) {
			const socket = this.socket;

			clearTimeout(this.timer);
			this.state = 'closed';
			this.socket = undefined;
			this.refuseAll(this.pending.values(), 'lost', 'the client was closed');
			this.refuseAll(this.waiting, 'closed', 'the client was closed');
			this.waiting = [];
			if (socket !== undefined && !byServer) {
				try {
					socket.close(code, reason);
				} catch (error) {
					// it was never open
				}
			}
			this.emit('close', { code, reason });
		}
	}

	return {
		connect: (url, options) => new Client(url, options),
		miniGame,
		Client,
		Error: ObhostError,
	};
});
