// SPDX-License-Identifier: BSD-2-Clause
// Copyright (c) The obhost authors

// The ES module: obhost.js under its names.
import './obhost.js';

const obhost = globalThis[Symbol.for('obhost')];

export const { connect, miniGame, Client, Error } = obhost;
export default obhost;
