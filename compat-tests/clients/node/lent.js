'use strict';
// A server lent by the harness (`compat lend`): one connection to $SERVERS is one server.

const net = require('net');
const readline = require('readline');

class Server {
    /** Asks for a server; it is gone with `close`. */
    constructor() {
        const at = process.env.SERVERS.lastIndexOf(':');
        this.stream = net.connect(Number(process.env.SERVERS.slice(at + 1)), process.env.SERVERS.slice(0, at));
        this.waiting = [];
        readline.createInterface({ input: this.stream }).on('line', (line) => {
            const { resolve, reject } = this.waiting.shift();
            const [, verdict, words] = /^(\S+) ?(.*)$/.exec(line);
            if (verdict === 'ok') resolve(words);
            else reject(new Error(words));
        });
    }

    /** One line, one answer: kind, config KEY VALUE, start, stop, kill, proxy, cut, mend. */
    ask(line) {
        return new Promise((resolve, reject) => {
            this.waiting.push({ resolve, reject });
            this.stream.write(line + '\n');
        });
    }

    close() {
        this.stream.end();
    }
}

module.exports = { Server };
