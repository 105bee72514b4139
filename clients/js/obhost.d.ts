// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors

/** A message id, or a name. */
export type Target = number | string;

/** What the client needs of a socket: a WebSocket has it. */
export interface SocketLike {
	/** Bytes with protocol 'obespoir'. */
	send(data: any): void;
	close(code?: number, reason?: string): void;
	onopen: ((event: any) => void) | null;
	onmessage: ((event: { data: any }) => void) | null;
	onclose: ((event: { code?: number; reason?: string }) => void) | null;
	onerror: ((event: any) => void) | null;
}

export interface Options {
	/** Milliseconds a request may take; 5000. */
	timeout?: number;
	/** Milliseconds until a connection that does not open is given up; 10000. */
	connectTimeout?: number;
	/** Milliseconds of silence after which the server is asked; 15000, 0: never. */
	heartbeat?: number;
	/** Milliseconds between attempts to connect. */
	backoff?: { min?: number; max?: number; factor?: number };
	/** Connect again when a connection breaks; true. */
	reconnect?: boolean;
	/** Ask for the same session after a connection that broke; false. */
	resume?: boolean;
	/** Requests and notifications that wait for a connection, or with protocol 'obespoir' for the answer
	 * to the one before; 256. */
	queue?: number;
	/** The WebSocket class, where there is no global one. */
	WebSocket?: new (url: string) => any;
	/** What the listener's codec is; 'json'. */
	protocol?: 'json' | 'obespoir';
	/** The listener's `encode`, with protocol 'obespoir': 2 needs WebCrypto with X25519. */
	encode?: 0 | 2;
	/** The listener's `token`, with encode 2. */
	token?: string;
	/** Or a function that makes a socket. */
	socket?: (url: string) => SocketLike;
}

export type ErrorKind = 'refused' | 'timeout' | 'closed' | 'lost' | 'full';

declare class ObhostError extends Error {
	readonly kind: ErrorKind;
	readonly code: number;
	readonly data: any;
}
export { ObhostError as Error };

export interface Ending {
	code: number;
	reason: string;
}

export class Client {
	readonly url: string;
	readonly state: 'connecting' | 'open' | 'waiting' | 'closed';
	request<T = any>(target: Target, data?: any, options?: { timeout?: number }): Promise<T>;
	/** False: it was not sent, and there is no room for it to wait. */
	notify(target: Target, data?: any): boolean;
	close(code?: number, reason?: string): void;
	/** The session's name, with options.resume. */
	readonly session?: string;
	/** `how`: with options.resume. */
	on(event: 'open' | 'reopen', fn: (how?: { recovered: boolean; reason?: string }) => void): this;
	on(event: 'lost', fn: (ending: Ending & { retry: number }) => void): this;
	on(event: 'close', fn: (ending: Ending) => void): this;
	/** A push by its name or id; 'push': those that nobody else hears.  With protocol 'obespoir' a body
	 * that is no JSON, also of an answer, is a Uint8Array of its bytes. */
	on(target: Target, fn: (data: any, message: any) => void): this;
	once(target: Target, fn: (data: any, message: any) => void): this;
	off(target: Target, fn: (...args: any[]) => void): this;
}

export function connect(url: string, options?: Options): Client;
/** A `socket` option for platforms with connectSocket({ url }), as mini-games have. */
export function miniGame(platform: {
	connectSocket(options: { url: string }): any;
}): (url: string) => SocketLike;

declare const obhost: {
	connect: typeof connect;
	miniGame: typeof miniGame;
	Client: typeof Client;
	Error: typeof ObhostError;
};
export default obhost;
export as namespace obhost;
