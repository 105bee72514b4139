// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors
//
// pomelo_client.js js|node PORT STEPS: one of pomelo's own clients, as npm has it: "js" is
// pomelo-jsclient-websocket, made for browsers and run in a window of our own, "node" is
// pomelo-nodejsclient-websocket. STEPS is a JSON list of
//
//     ["request", ROUTE, BODY]   waits for its answer and prints ["answer", BODY]
//     ["notify", ROUTE, BODY]
//     ["await", EVENT]           prints ["event", EVENT, BODY] of the next, or of one that came
//     ["sleep", MS]
//     ["again"]                  connects once more, with what the client has kept
//     ["resume"]                 breaks the connection, and comes back to the session on another one
//                                ("js" alone), as if it had seen nothing behind the last answer; the
//                                first step says on the first connection that it may
//
// and ["open", USER] is printed for each connection. Exit status 1 when something is wrong, 3 when
// there are no such packages.
'use strict';

const fs = require('fs');
const vm = require('vm');
const { EventEmitter } = require('events');

const EVENTS = ['onChat', 'onAdd', 'onKick', 'close', 'error', 'io-error', 'heartbeat timeout'];
const [which, port, text] = process.argv.slice(2);
const steps = JSON.parse(text);
const came = {};
const waiting = {};

function say(...words) {
	process.stdout.write(JSON.stringify(words) + '\n');
}

let last = null; // connection
let token = null; // of the session
let had = 0; // messages in it, and with the last answer
let answered = 0;

function note(name, body) {
	had += name.startsWith('on');
	const plain = name === 'close' ? body.code : name.includes('error') ? String(body) : body;
	if (waiting[name]) {
		waiting[name](plain);
		delete waiting[name];
	} else {
		(came[name] = came[name] || []).push(plain);
	}
}

function event(name) {
	if (came[name] && came[name].length > 0) {
		return Promise.resolve(came[name].shift());
	}
	return new Promise((resolve) => { waiting[name] = resolve; });
}

// A window with what pages of such a client load: the protocol as browsers run it, protobuf.
function browserClient(storage) {
	class Socket extends require('ws') {
		constructor(...args) {
			super(...args);
			last = this;
		}
	}
	const window = { EventEmitter, WebSocket: Socket, localStorage: storage,
		protobuf: require('pomelo-protobuf') };
	const quiet = { log() {}, warn() {}, error() {} };
	const page = vm.createContext({ window, WebSocket: window.WebSocket, console: quiet,
		setTimeout, clearTimeout, Uint8Array, ArrayBuffer });
	const run = (name) => vm.runInContext(fs.readFileSync(name, 'utf8'), page);

	page.module = {};
	run(require.resolve('pomelo-protocol/lib/protocol.js'));
	window.Protocol = page.Protocol;
	run(require.resolve('pomelo-jsclient-websocket'));
	return window.pomelo;
}

function nodeClient() {
	const none = () => {};
	const Client = require('pomelo-nodejsclient-websocket');
	return new Client({ logger: { debug: none, info: none, warn: none, error: none, trace: none } });
}

function keeper() {
	const kept = {};
	return { getItem: (key) => kept[key], setItem: (key, value) => { kept[key] = value; } };
}

function newClient(storage) {
	const client = which === 'js' ? browserClient(storage) : nodeClient();
	EVENTS.forEach((name) => client.on(name, (body) => note(name, body)));
	return client;
}

function connect(client, resume) {
	return new Promise((resolve) => {
		let user = null;
		client.init({ host: '127.0.0.1', port, user: { name: 'ada', resume },
			handshakeCallback: (said) => { user = said; } },
		() => {
			token = user && user.resume ? user.resume.token : token;
			say('open', user);
			resolve(client);
		});
	});
}

function request(client, route, body) {
	return new Promise((resolve) => {
		client.request(route, body, (...args) => {
			answered = ++had;
			resolve(args[args.length - 1]);
		});
	});
}

async function main() {
	const storage = keeper();
	let client = null;

	if (steps[0][0] === 'resume') {
		steps.shift();
		client = await connect(newClient(storage), {});
	} else {
		client = await connect(newClient(storage));
	}
	for (const [what, name, body] of steps) {
		if (what === 'request') {
			say('answer', await request(client, name, body));
		} else if (what === 'notify') {
			client.notify(name, body);
		} else if (what === 'await') {
			say('event', name, await event(name));
		} else if (what === 'sleep') {
			await new Promise((resolve) => { setTimeout(resolve, name); });
		} else if (what === 'resume') {
			last.terminate();
			await event('close');
			had = answered;
			await connect(client, { token, seen: had });
		} else {
			client.disconnect();
			await event('close');
			client = await connect(newClient(storage));
		}
	}
	process.exit(0);
}

try {
	['ws', 'pomelo-protobuf', 'pomelo-protocol', 'pomelo-jsclient-websocket',
		'pomelo-nodejsclient-websocket'].forEach((name) => require.resolve(name));
} catch (error) {
	console.error(error.message.split('\n')[0]);
	process.exit(3);
}
main().catch((error) => { console.error(error.stack); process.exit(1); });
