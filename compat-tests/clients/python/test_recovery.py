"""Kazoo's recipes when the server is killed and started again, and when the session expires."""

import threading
import time

import pytest
from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState
from kazoo.recipe.cache import TreeCache
from kazoo.retry import KazooRetry

from lent import Server

PATIENCE = 90  # a genuine server that starts may leave a handshake unanswered: 20 s
CRASH, EXPIRY = "crash", "expiry"

both = pytest.mark.parametrize("how", [CRASH, EXPIRY])


def until(condition, what):
    """Waits for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.01)


class World:
    """A server, a client that loses it, and one that sees it from outside."""

    def __init__(self, server, how):
        self.server = server
        address = server.start()
        self.client = self.connect(server.proxy(), 4 if how == EXPIRY else 30)
        self.other = self.connect(address, 30)
        self.how = how
        self.states = []
        self.client.add_listener(self.states.append)

    @staticmethod
    def connect(hosts, timeout):
        forever = {"max_tries": -1, "max_delay": 0.2}
        client = KazooClient(hosts, timeout=timeout, connection_retry=KazooRetry(**forever), command_retry=KazooRetry(**forever))
        client.start(timeout=PATIENCE)
        return client

    def lose(self):
        """The server crashes and comes back with its data; or the client is cut off until its session has expired."""
        session = self.client.client_id[0]
        if self.how == CRASH:
            self.server.kill()
            until(lambda: KazooState.SUSPENDED in self.states, "the client notices")
            self.server.start()
        else:
            self.client.ensure_path("/")
            witness = self.client.create("/witness", ephemeral=True)
            self.server.cut()
            until(lambda: self.other.exists(witness) is None, "the session expires")
            self.server.mend()
            until(lambda: KazooState.LOST in self.states, "the client hears of it")
        until(lambda: self.client.connected and self.other.connected, "both are back")
        assert (self.client.client_id[0] == session) == (self.how == CRASH)

    def close(self):
        for client in (self.client, self.other):
            client.stop()
            client.close()
        self.server.close()


@pytest.fixture
def world(how):
    server = Server()
    if server.kind() == "external":
        server.close()
        pytest.skip("needs a server of its own")
    world = World(server, how)
    yield world
    world.close()


class Background(threading.Thread):
    """Runs a function; `result` waits for what it returns."""

    def __init__(self, function):
        super().__init__(daemon=True)
        self.function = function
        self.done = threading.Event()
        self.start()

    def run(self):
        self.value = self.function()
        self.done.set()

    def result(self):
        assert self.done.wait(PATIENCE), "it still waits"
        return self.value


def wait_in_line(world, path, count):
    until(lambda: world.other.exists(path) and len(world.other.get_children(path)) == count, f"{count} in line at {path}")


@both
def test_lock(world, how):
    held = world.client.Lock("/lock", "first")
    waiting = world.other.Lock("/lock", "second")
    assert held.acquire(timeout=PATIENCE)
    taken = Background(lambda: waiting.acquire())
    wait_in_line(world, "/lock", 2)
    world.lose()
    if how == CRASH:
        assert held.contenders() == ["first", "second"]
        assert not taken.done.is_set()
        held.release()
    assert taken.result()
    assert waiting.contenders() == ["second"]
    waiting.release()


@both
def test_semaphore(world, how):
    held = world.client.Semaphore("/semaphore", "first", max_leases=1)
    waiting = world.other.Semaphore("/semaphore", "second", max_leases=1)
    assert held.acquire(timeout=PATIENCE)
    taken = Background(lambda: waiting.acquire())
    wait_in_line(world, "/semaphore-__lock__", 1)
    world.lose()
    if how == CRASH:
        assert held.lease_holders() == ["first"]
        assert not taken.done.is_set()
        held.release()
    assert taken.result()
    assert waiting.lease_holders() == ["second"]
    waiting.release()


@both
def test_election(world, how):
    leads, resign = {}, {}

    def candidate(client, name):
        leads[name], resign[name] = threading.Event(), threading.Event()

        def lead():
            leads[name].set()
            resign[name].wait(PATIENCE)

        return Background(lambda: client.Election("/election", name).run(lead))

    first = candidate(world.client, "first")
    assert leads["first"].wait(PATIENCE)
    second = candidate(world.other, "second")
    wait_in_line(world, "/election", 2)
    world.lose()
    if how == CRASH:
        assert world.other.Election("/election").contenders() == ["first", "second"]
        assert not leads["second"].is_set()
        resign["first"].set()
    assert leads["second"].wait(PATIENCE)
    resign["first"].set()
    resign["second"].set()
    first.result()
    second.result()


@both
def test_party(world, how):
    member = world.client.Party("/party", "member")
    seen = world.other.Party("/party", "witness")
    member.join()
    assert list(seen) == ["member"]
    world.lose()
    if how == EXPIRY:
        assert list(seen) == []
        member.participating = False
        member.join()
    assert list(seen) == ["member"]
    member.leave()
    assert list(seen) == []


@both
def test_data_watch(world, how):
    seen = []
    world.other.create("/data", b"1")
    world.client.DataWatch("/data", lambda data, _stat: seen.append(data))
    until(lambda: seen == [b"1"], "the first value")
    world.lose()
    world.other.set("/data", b"2")
    until(lambda: seen[-1] == b"2", "the value after it")
    world.other.delete("/data")
    until(lambda: seen[-1] is None, "the end")
    assert seen == [b"1", b"2", None]


def test_data_watch_sees_what_a_cut_hid():
    server = Server()
    if server.kind() == "external":
        pytest.skip("needs a proxy to a server of its own")
    world = World(server, CRASH)
    seen = []
    world.other.create("/data", b"1")
    world.client.DataWatch("/data", lambda data, _stat: seen.append(data))
    until(lambda: seen == [b"1"], "the first value")
    server.cut()
    until(lambda: KazooState.SUSPENDED in world.states, "the client notices")
    world.other.set("/data", b"2")
    server.mend()
    until(lambda: seen == [b"1", b"2"], "the value that was set meanwhile")
    world.close()


@both
def test_children_watch(world, how):
    seen = []
    world.other.create("/parent")
    world.client.ChildrenWatch("/parent", lambda names: seen.append(sorted(names)))
    until(lambda: seen == [[]], "no child")
    world.lose()
    world.other.create("/parent/a")
    until(lambda: seen[-1] == ["a"], "one child")
    world.other.create("/parent/b")
    until(lambda: seen[-1] == ["a", "b"], "two children")


@both
def test_counter(world, how):
    counter = world.client.Counter("/counter")
    for _ in range(5):
        counter += 1
    world.lose()
    for _ in range(5):
        counter += 1
    counter -= 3
    assert counter.value == 7
    assert world.other.Counter("/counter").value == 7


@both
def test_queue(world, how):
    queue = world.client.Queue("/queue")
    queue.put(b"later", priority=200)
    queue.put(b"1")
    queue.put(b"2")
    assert queue.get() == b"1"
    world.lose()
    queue.put(b"3")
    assert len(queue) == 3
    # Kazoo's queue first hands out what its last look at the server found.
    assert [queue.get() for _ in range(4)] == [b"2", b"later", b"3", None]


@both
def test_locking_queue(world, how):
    queue, other = world.client.LockingQueue("/lq"), world.other.LockingQueue("/lq")
    queue.put(b"task")
    assert queue.get(timeout=PATIENCE) == b"task"
    world.lose()
    if how == CRASH:
        assert queue.holds_lock()
        assert queue.consume()
        assert len(other) == 0
    else:
        assert other.get(timeout=PATIENCE) == b"task"
        assert other.consume()


@both
def test_tree_cache(world, how):
    world.other.ensure_path("/tree")
    cache = TreeCache(world.client, "/tree")
    cache.start()
    world.other.create("/tree/a", b"1")
    until(lambda: cache.get_data("/tree/a") is not None, "the first child")
    world.lose()
    world.other.set("/tree/a", b"2")
    world.other.create("/tree/b", b"3")
    until(lambda: getattr(cache.get_data("/tree/a"), "data", None) == b"2", "the new value")
    until(lambda: getattr(cache.get_data("/tree/b"), "data", None) == b"3", "the second child")
    assert sorted(cache.get_children("/tree")) == ["a", "b"]
    cache.close()


@both
def test_ephemeral_and_sequential_nodes(world, how):
    made = world.client.create("/seq-", ephemeral=True, sequence=True)
    world.lose()
    assert (world.other.exists(made) is not None) == (how == CRASH)
    after = world.client.create("/seq-", ephemeral=True, sequence=True)
    assert int(after[-10:]) > int(made[-10:])
