'use strict';
// The Node client (node-zookeeper-client, all JavaScript) against one server: what its users rely on.

const assert = require('assert').strict;
const zookeeper = require('node-zookeeper-client');
const { Server } = require('./lent.js');

const { ACL, CreateMode, Event, Exception, Id, Permission, State } = zookeeper;
const PATIENCE_MS = 90000; // a genuine server that starts may leave a handshake unanswered: 20 s
const EVERY_ACL = ACL.OPEN_ACL_UNSAFE;
const PERSISTENT = CreateMode.PERSISTENT;
// A directory of this run's own, so that a server that runs already serves too.
const ROOT = `/node-${process.pid}-${Date.now()}`;

class Skipped extends Error {}

/** A promise that fails when it takes too long. */
function timely(what, promise, limitMs = PATIENCE_MS) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`not within ${limitMs} ms: ${what}`)), limitMs);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The client's calls as promises, and the states it went through. */
class Client {
    constructor(address, sessionTimeout) {
        this.raw = zookeeper.createClient(address, { sessionTimeout, spinDelay: 50, retries: 0 });
        this.states = [];
        this.listeners = new Set();
        this.raw.on('state', (state) => {
            this.states.push(state);
            this.listeners.forEach((listener) => listener());
        });
    }

    static async connect(address, sessionTimeout = 10000) {
        const client = new Client(address, sessionTimeout);
        client.raw.connect();
        await client.reached(State.SYNC_CONNECTED);
        return client;
    }

    /** Waits for a state among those since `from`. */
    reached(state, from = 0) {
        return timely(`state ${state}`, new Promise((resolve) => {
            const look = () => {
                if (this.states.slice(from).includes(state)) {
                    this.listeners.delete(look);
                    resolve();
                }
            };
            this.listeners.add(look);
            look();
        }));
    }

    /** Calls one of the client's functions and waits for its callback; its values come as a list. */
    call(name, ...values) {
        return timely(name, new Promise((resolve, reject) => {
            this.raw[name](...values, (error, ...results) => (error ? reject(error) : resolve(results)));
        }));
    }

    create(path, data = Buffer.alloc(0), mode = PERSISTENT, acl = EVERY_ACL) {
        return this.call('create', path, data, acl, mode).then(([made]) => made);
    }

    session() {
        return this.raw.getSessionId().toString('hex');
    }

    close() {
        this.raw.close();
    }
}

function commit(transaction) {
    return timely('commit', new Promise((resolve) => {
        transaction.commit((error, results) => resolve({ error, results }));
    }));
}

/** A watcher and the promise of its event. */
function watch() {
    const one = { fired: 0 };
    one.event = new Promise((resolve) => {
        one.watcher = (event) => {
            one.fired += 1;
            resolve(event);
        };
    });
    one.expect = async (type, path) => {
        const event = await timely(`an event at ${path}`, one.event);
        assert.equal(event.getType(), type);
        assert.equal(event.getPath(), path);
    };
    return one;
}

async function refused(promise, name) {
    await assert.rejects(promise, (error) => {
        assert.equal(error.getCode && error.getCode(), Exception[name], `${error}, expected ${name}`);
        return true;
    });
}

/** Clients and servers of one test, closed behind it. */
class Scene {
    constructor(shared) {
        this.shared = shared;
        this.open = [];
    }

    async connect(address, sessionTimeout) {
        const client = await Client.connect(address || (await this.shared.ask('start')), sessionTimeout);
        this.open.push(client);
        return client;
    }

    async own() {
        if ((await this.shared.ask('kind')) === 'external') throw new Skipped('needs a server of its own');
        const server = new Server();
        this.open.push(server);
        return server;
    }

    async dir(client, name) {
        return client.create(`${ROOT}-${name}`);
    }

    close() {
        this.open.forEach((one) => one.close());
    }
}

const TESTS = {
    async createGetSetRemove(scene) {
        const client = await scene.connect();
        const path = await scene.dir(client, 'basic');
        assert.equal(path, `${ROOT}-basic`);
        let [data, stat] = await client.call('getData', path);
        assert.equal((data || '').length, 0);
        assert.equal(stat.version, 0);
        [stat] = await client.call('setData', path, Buffer.from('one'), 0);
        assert.equal(stat.version, 1);
        await refused(client.call('setData', path, Buffer.from('two'), 0), 'BAD_VERSION');
        [data, stat] = await client.call('getData', path);
        assert.equal(data.toString(), 'one');
        assert.equal(stat.dataLength, 3);
        await refused(client.create(path), 'NODE_EXISTS');
        await refused(client.create(`${path}/a/b`), 'NO_NODE');
        await client.create(`${path}/a`);
        await refused(client.call('remove', path, -1), 'NOT_EMPTY');
        await refused(client.call('remove', `${path}/a`, 7), 'BAD_VERSION');
        await client.call('remove', `${path}/a`, 0);
        [stat] = await client.call('exists', `${path}/a`);
        assert.equal(stat, null);
        await client.call('removeRecursive', path);
        await refused(client.call('getData', path), 'NO_NODE');
    },

    async childrenAndSequentialNodes(scene) {
        const client = await scene.connect();
        const path = await scene.dir(client, 'children');
        await client.call('mkdirp', `${path}/c/d/e`);
        for (const name of ['b', 'a']) await client.create(`${path}/${name}`);
        const [names, stat] = await client.call('getChildren', path);
        assert.deepEqual(names.sort(), ['a', 'b', 'c']);
        assert.equal(stat.numChildren, 3);
        const made = await client.create(`${path}/q-`, undefined, CreateMode.PERSISTENT_SEQUENTIAL);
        assert.equal(made, `${path}/q-0000000003`);
        const next = await client.create(`${path}/q-`, undefined, CreateMode.EPHEMERAL_SEQUENTIAL);
        assert.equal(next, `${path}/q-0000000004`);
    },

    async watchesFireOnce(scene) {
        const client = await scene.connect();
        const other = await scene.connect();
        const path = await scene.dir(client, 'watch');
        const node = `${path}/node`;
        const [exists, children, data, gone] = [watch(), watch(), watch(), watch()];
        await client.call('exists', node, exists.watcher);
        await client.call('getChildren', path, children.watcher);
        await other.create(node);
        await exists.expect(Event.NODE_CREATED, node);
        await children.expect(Event.NODE_CHILDREN_CHANGED, path);
        await client.call('getData', node, data.watcher);
        await other.call('setData', node, Buffer.from('1'), -1);
        await data.expect(Event.NODE_DATA_CHANGED, node);
        await other.call('setData', node, Buffer.from('2'), -1);
        await client.call('getData', node, gone.watcher);
        assert.equal(data.fired, 1);
        assert.equal(gone.fired, 0);
        await other.call('remove', node, -1);
        await gone.expect(Event.NODE_DELETED, node);
        assert.deepEqual([exists.fired, children.fired, data.fired], [1, 1, 1]);
    },

    async ephemeralsGoWithTheirSession(scene) {
        const client = await scene.connect();
        const other = await scene.connect();
        const path = await scene.dir(client, 'ephemeral');
        const made = await client.create(`${path}/member`, Buffer.from('x'), CreateMode.EPHEMERAL);
        const gone = watch();
        const [stat] = await other.call('exists', made, gone.watcher);
        assert.equal(stat.ephemeralOwner.toString('hex'), client.session());
        await refused(client.create(`${made}/child`), 'NO_CHILDREN_FOR_EPHEMERALS');
        client.close();
        await gone.expect(Event.NODE_DELETED, made);
    },

    async transactionsAreAllOrNothing(scene) {
        const client = await scene.connect();
        const path = await scene.dir(client, 'transaction');
        const good = await commit(client.raw.transaction()
            .create(`${path}/a`, Buffer.from('1'))
            .setData(`${path}/a`, Buffer.from('2'), 0)
            .check(`${path}/a`, 1)
            .create(`${path}/b`)
            .remove(`${path}/b`, -1));
        assert.equal(good.error, null);
        assert.equal(good.results.length, 5);
        const bad = await commit(client.raw.transaction().create(`${path}/c`).check(`${path}/a`, 9));
        assert.equal(bad.error.getCode(), Exception.BAD_VERSION);
        const [names] = await client.call('getChildren', path);
        assert.deepEqual(names, ['a']);
    },

    async digestGuardsANode(scene) {
        const client = await scene.connect();
        const other = await scene.connect();
        const path = await scene.dir(client, 'auth');
        client.raw.addAuthInfo('digest', Buffer.from('user:secret'));
        const mine = await client.create(`${path}/mine`, Buffer.from('x'), PERSISTENT, ACL.CREATOR_ALL_ACL);
        await refused(other.call('getData', mine), 'NO_AUTH');
        const [acl] = await client.call('getACL', mine);
        assert.equal(acl[0].id.scheme, 'digest');
        assert.match(acl[0].id.id, /^user:/);
        await client.call('setACL', mine, [new ACL(Permission.READ, Id.ANYONE_ID_UNSAFE)], 0);
        const [data] = await other.call('getData', mine);
        assert.equal(data.toString(), 'x');
        await refused(other.call('setData', mine, Buffer.from('y'), -1), 'NO_AUTH');
    },

    async authFailureIsTold(scene) {
        const client = await scene.connect();
        client.raw.addAuthInfo('nosuchscheme', Buffer.from('x'));
        await client.reached(State.AUTH_FAILED);
    },

    async sessionOutlivesACrash(scene) {
        const server = await scene.own();
        const address = await server.ask('start');
        const client = await scene.connect(address, 30000);
        const [data, missing, children] = [watch(), watch(), watch()];
        await client.create('/kept', Buffer.from('before'), CreateMode.EPHEMERAL);
        await client.call('getData', '/kept', data.watcher);
        await client.call('exists', '/missing', missing.watcher);
        await client.call('getChildren', '/', children.watcher);
        const session = client.session();
        const from = client.states.length;
        await server.ask('kill');
        await client.reached(State.DISCONNECTED, from);
        assert.equal(await server.ask('start'), address);
        await client.reached(State.SYNC_CONNECTED, from);
        assert.equal(client.session(), session);
        const [value, stat] = await client.call('getData', '/kept');
        assert.equal(value.toString(), 'before');
        assert.equal(stat.ephemeralOwner.toString('hex'), session);
        assert.equal(data.fired, 0);
        await client.call('setData', '/kept', Buffer.from('after'), -1);
        await data.expect(Event.NODE_DATA_CHANGED, '/kept');
        await client.create('/missing');
        await missing.expect(Event.NODE_CREATED, '/missing');
        await children.expect(Event.NODE_CHILDREN_CHANGED, '/');
    },

    async watchFiresForWhatACutHid(scene) {
        const server = await scene.own();
        const address = await server.ask('start');
        const client = await scene.connect(await server.ask('proxy'), 30000);
        const other = await scene.connect(address);
        const data = watch();
        await other.create('/seen');
        await client.call('getData', '/seen', data.watcher);
        const from = client.states.length;
        await server.ask('cut');
        await client.reached(State.DISCONNECTED, from);
        await other.call('setData', '/seen', Buffer.from('x'), -1);
        await server.ask('mend');
        await client.reached(State.SYNC_CONNECTED, from);
        await data.expect(Event.NODE_DATA_CHANGED, '/seen');
    },

    async expiryEndsTheSession(scene) {
        const server = await scene.own();
        const address = await server.ask('start');
        const client = await scene.connect(await server.ask('proxy'), 4000);
        const other = await scene.connect(address);
        const gone = watch();
        await client.create('/brief', Buffer.alloc(0), CreateMode.EPHEMERAL);
        await other.call('exists', '/brief', gone.watcher);
        await server.ask('cut');
        await gone.expect(Event.NODE_DELETED, '/brief');
        await server.ask('mend');
        await client.reached(State.EXPIRED);
        await refused(client.call('getData', '/'), 'SESSION_EXPIRED');
    },
};

async function main(only) {
    const shared = new Server();
    await timely('the first server', shared.ask('start'));
    const count = { passed: 0, failed: 0, skipped: 0 };
    for (const [name, run] of Object.entries(TESTS).filter(([each]) => each.includes(only))) {
        const scene = new Scene(shared);
        const start = Date.now();
        try {
            await timely(name, run(scene), 2 * PATIENCE_MS);
            count.passed += 1;
            console.log(`ok   ${name} (${Date.now() - start} ms)`);
        } catch (error) {
            if (error instanceof Skipped) {
                count.skipped += 1;
                console.log(`skip ${name}: ${error.message}`);
            } else {
                count.failed += 1;
                console.log(`FAIL ${name} (${Date.now() - start} ms)\n${error.stack}`);
            }
        }
        scene.close();
    }
    shared.close();
    console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
    process.exit(count.failed > 0 || count.passed === 0 ? 1 : 0);
}

main(process.argv[2] || '');
