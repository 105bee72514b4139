// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors

// The page of the chat room.  It talks to the plugin with the names chat.* and nothing else.
'use strict';

const $ = (id) => document.getElementById(id);
const me = { name: '', room: '', last: 0 };
const rooms = new Set(['lobby']);
const people = new Set();
let client = null;
let code = '';

function element(tag, className, text) {
	const made = document.createElement(tag);

	made.className = className || '';
	made.textContent = text || '';
	return made;
}

/* The same colour for the same name, everywhere. */
function face(name) {
	let hash = 0;

	for (const letter of name) {
		hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
	}
	const made = element('span', 'face', Array.from(name)[0].toUpperCase());
	made.style.background = `hsl(${(hash * 137) % 360} 60% 66%)`;
	return made;
}

// ---------------------------------------------------------------- what is shown

function showRooms() {
	$('rooms').replaceChildren(
		...Array.from(rooms).sort().map((name) => {
			const item = element('li', name === me.room ? 'now' : '', name);

			item.onclick = () => move(name);
			return item;
		})
	);
	$('title').textContent = `# ${me.room}`;
}

function showPeople() {
	$('people').replaceChildren(
		...Array.from(people).sort().map((name) => {
			const item = element('li');

			item.append(face(name), element('span', '', name === me.name ? `${name} (you)` : name));
			return item;
		})
	);
	$('count').textContent = `· ${people.size}`;
}

function add(item) {
	const talk = $('talk');
	const low = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;

	talk.append(item);
	if (low) {
		talk.scrollTop = talk.scrollHeight;
	}
}

function note(text, className) {
	const item = element('li', className || 'note');

	item.append(element('span', '', text));
	add(item);
}

function said(message) {
	const item = element('li');
	const words = element('div');
	const when = new Date(message.at);

	words.append(
		element('span', 'who', message.from),
		element('time', '', when.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })),
		element('div', 'body', message.text)
	);
	item.append(face(message.from), words);
	me.last = message.n;
	add(item);
}

function showCode(data, first) {
	const text = `chat ${data.version}, generation ${data.generation}`;

	if (!first && text !== code) {
		note(`The server's code was replaced: ${text}. You are still connected.`, 'code');
	}
	code = text;
	$('code').textContent = text;
}

function connected(yes, text) {
	$('state').className = yes ? 'state' : 'state off';
	$('state').textContent = text;
}

// ---------------------------------------------------------------- what is said

async function enter(room) {
	const answer = await client.request('chat.enter', { name: me.name, room });

	if (me.room !== room) {
		$('talk').replaceChildren();
		me.last = 0;
	}
	me.room = room;
	rooms.add(room);
	people.clear();
	answer.people.forEach((name) => people.add(name));
	answer.history.filter((message) => message.n > me.last).forEach(said);
	showCode(answer, code === '');
	showRooms();
	showPeople();
}

function move(room) {
	if (room !== me.room) {
		enter(room).catch((error) => note(error.message));
	}
}

function connect(url) {
	client = obhost.connect(url);
	client.on('reopen', () => {
		connected(true, 'connected');
		enter(me.room).catch((error) => note(error.message));
	});
	client.on('lost', () => connected(false, 'connecting again'));
	client.on('close', (end) => connected(false, end.reason || 'closed'));
	client.on('chat.said', (data) => data.room === me.room && said(data));
	client.on('chat.code', (data) => showCode(data, false));
	client.on('chat.came', (data) => {
		if (data.room === me.room && !people.has(data.who)) {
			people.add(data.who);
			showPeople();
			note(`${data.who} came in`);
		}
	});
	client.on('chat.went', (data) => {
		if (data.room === me.room && people.delete(data.who)) {
			showPeople();
			note(`${data.who} left`);
		}
	});
}

$('enter').onsubmit = async (event) => {
	event.preventDefault();
	me.name = $('name').value.trim();
	const room = $('room').value.trim();

	$('why').textContent = '';
	try {
		if (client === null) {
			const where = await (await fetch('where.json')).json();
			connect(where.url || `ws://${location.hostname}:${where.port}/`);
		}
		await enter(room);
	} catch (error) {
		$('why').textContent = error.message;
		return;
	}
	$('door').hidden = true;
	$('house').hidden = false;
	$('text').focus();
};

$('say').onsubmit = async (event) => {
	event.preventDefault();
	const text = $('text').value.trim();

	if (text === '') {
		return;
	}
	$('text').value = '';
	try {
		await client.request('chat.say', { text });
	} catch (error) {
		note(`Not sent: ${error.message}`);
		$('text').value = text;
	}
};

$('go').onsubmit = (event) => {
	event.preventDefault();
	const room = $('other').value.trim();

	$('other').value = '';
	if (room !== '') {
		move(room);
	}
};
