"""A PostgreSQL leader is elected, killed, replaced and brought back by Patroni, under a steady load of writes.

Patroni keeps its members and its leader as ephemeral znodes, and waits for changes by watches. The suite looks at these
znodes with a session of its own: which session holds them, and since which transaction.
"""

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.retry import KazooRetry

from ledger import Ledger
from programs import Keeper, Node, control, readable_copy, tail, until

KILLS = 3


class Suite:
    """The scenario; its checks build on each other, so that after one that failed the rest is only named."""

    def __init__(self, directory):
        self.directory = directory
        self.scope = f"compat-{os.getpid()}"
        self.root = f"/service/{self.scope}"
        self.keeper = Keeper(os.path.join(directory, "keeper"))
        self.nodes = []
        self.ledger = None
        self.client = None
        self.passed = self.failed = self.skipped = 0

    def check(self, name, step, needs_kill=False):
        if self.failed or (needs_kill and self.keeper.external):
            self.skipped += 1
            why = "an earlier check failed" if self.failed else "somebody else's server is not killed"
            print(f"skip {name}: {why}", flush=True)
            return
        start = time.monotonic()
        try:
            step()
            self.passed += 1
            print(f"ok   {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception:
            self.failed += 1
            print(f"FAIL {name} ({time.monotonic() - start:.1f} s)")
            traceback.print_exc(file=sys.stdout)
            for part in [self.keeper, *self.nodes]:
                print(f"--- {part.log} ends:\n{tail(part.log)}", flush=True)

    def run(self):
        self.check("a leader is elected and a replica follows", self.start)
        self.check("both sides of a configuration change hear of it", self.configure)
        self.check(f"the server is killed {KILLS} times under load: sessions and leader stay", self.kill_server, True)
        self.check("the leader is killed: the replica takes over, no acknowledged row is lost", self.fail_over)
        self.check("the killed leader comes back as replica", self.bring_back)
        self.check("a switchover on request", self.switch_over)
        self.check("the leader and then the server are killed", self.fail_over_with_server, True)
        self.check("the killed leader comes back again", self.bring_back, True)
        self.check("a leader that stops hands over at once", self.hand_over)
        self.check("both nodes hold every acknowledged row, undamaged", self.compare)
        print(f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else ""))
        return 0 if self.passed and not self.failed else 1

    # The znodes.

    def znode(self, path):
        """Data and stat of a znode below Patroni's; None and None when there is none."""
        try:
            data, stat = self.client.retry(self.client.get, f"{self.root}/{path}")
        except NoNodeError:
            return None, None
        return data.decode(), stat

    def hold(self, path):
        """Which session holds an ephemeral, and since which transaction."""
        _, stat = self.znode(path)
        return stat and (stat.ephemeralOwner, stat.czxid)

    def holds(self):
        paths = ["leader", *(f"members/{node.name}" for node in self.nodes)]
        return {path: self.hold(path) for path in paths}

    def leader(self):
        name, _ = self.znode("leader")
        return next((node for node in self.nodes if node.name == name), None)

    def other(self, node):
        return next(each for each in self.nodes if each is not node)

    def await_leader(self, but_not=None):
        """Waits for a leader that serves; the node."""

        def found():
            node = self.leader()
            return node is not None and node is not but_not and node.leads() and node

        return until("there is a leader that serves", found)

    def await_replica(self):
        """Waits until the leader has a synchronous replica: from then on, acknowledged means on both."""

        def found():
            leader = self.leader()
            text, _ = self.znode("sync")
            sync = json.loads(text) if text else {}
            return (
                leader is not None
                and sync.get("leader") == leader.name
                and sync.get("sync_standby") == self.other(leader).name
                and self.other(leader).state().get("state") in ("running", "streaming")
                and leader.leads()
            )

        until("the leader has a synchronous replica", found)

    # The checks.

    def start(self):
        self.keeper.start()
        forever = dict(max_tries=-1, max_delay=0.5)
        retries = dict(connection_retry=KazooRetry(**forever), command_retry=KazooRetry(**forever))
        self.client = KazooClient(self.keeper.hosts, timeout=40, **retries)
        self.client.start(timeout=60)
        code = readable_copy(self.directory)
        for name in ("one", "two"):
            node = Node(os.path.join(self.directory, name), name, self.scope, self.keeper, code)
            self.nodes.append(node)
            node.start()
        self.await_leader()
        self.await_replica()
        self.ledger = Ledger(self.nodes)
        self.ledger.start()
        self.ledger.await_more(200)

    def configure(self):
        control(self.nodes[0], "edit-config", "--force", "--pg", "work_mem=5MB")
        for node in self.nodes:
            with self.ledger.connect([node], "any") as connection:
                connection.autocommit = True

                def changed(connection=connection):
                    with connection.cursor() as cursor:
                        cursor.execute("SHOW work_mem")
                        return cursor.fetchone()[0] == "5MB"

                until(f"{node.name} has the new setting", changed)

    def kill_server(self):
        before = self.holds()
        assert all(before.values()), before
        leader = self.leader()
        for _ in range(KILLS):
            self.keeper.kill()
            # Writes need no server.
            self.ledger.await_more(200)
            self.keeper.start()
            assert self.holds() == before, f"held before: {before}, after: {self.holds()}"
            self.ledger.await_more(200)
            self.await_replica()
        assert self.holds() == before, f"held before: {before}, now: {self.holds()}"
        assert self.leader() is leader
        until("the leader serves", leader.leads)
        self.ledger.verify(leader)

    def fail_over(self):
        self.await_replica()
        old = self.leader()
        held = self.hold("leader")
        old.kill()
        new = self.await_leader(but_not=old)
        assert self.hold("leader")[0] != held[0], "the new leader has the old one's session"
        until("the killed member's znode is gone", lambda: self.hold(f"members/{old.name}") is None)
        self.ledger.verify(new)
        self.ledger.await_more(200)

    def bring_back(self):
        dead = self.other(self.leader())
        dead.start()
        self.await_replica()
        self.ledger.await_more(200)
        self.ledger.verify(self.leader())

    def switch_over(self):
        old = self.leader()
        new = self.other(old)
        # The candidate must have been found healthy, which takes a turn of its loop.
        self.await_replica()
        control(old, "switchover", self.scope, "--leader", old.name, "--candidate", new.name, "--force")
        assert self.await_leader(but_not=old) is new
        self.await_replica()
        self.ledger.await_more(200)
        self.ledger.verify(new)

    def fail_over_with_server(self):
        self.await_replica()
        old = self.leader()
        held = self.holds()
        old.kill()
        self.keeper.kill()
        self.keeper.start()
        assert self.holds() == held, f"a dead session lasts its timeout: {held}, {self.holds()}"
        new = self.await_leader(but_not=old)
        assert self.hold("leader")[0] != held["leader"][0], "the new leader has the old one's session"
        self.ledger.verify(new)
        self.ledger.await_more(200)

    def hand_over(self):
        self.await_replica()
        old = self.leader()
        held = self.hold("leader")
        old.stop()
        assert self.hold("leader") != held, "a leader that stops lets go of the leader's znode"
        self.await_leader(but_not=old)
        self.ledger.await_more(200)
        old.start()
        self.await_replica()

    def compare(self):
        self.ledger.stop()
        self.ledger.verify(self.leader())
        expected = self.ledger.rows(self.leader())
        until("the replica has all rows", lambda: self.ledger.rows(self.other(self.leader())) == expected)
        print(f"     {len(self.ledger.acknowledged)} rows acknowledged, {len(expected)} there, "
              f"{self.ledger.failures} failed connections or writes")

    def end(self):
        """Ends every process that was started here."""
        if self.ledger is not None:
            self.ledger.ending.set()
        for node in self.nodes:
            node.kill()
        if self.client is not None:
            if self.keeper.external:
                self.client.retry(self.client.delete, self.root, recursive=True)
            self.client.stop()
        self.keeper.end()


def main():
    # Also when it is told to end, it takes what it started with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # The suite's own client tells of every try to connect.
    logging.disable(logging.CRITICAL)
    directory = tempfile.mkdtemp(prefix="compat-patroni-")
    # PostgreSQL's user must pass through it.
    os.chmod(directory, 0o755)
    suite = Suite(directory)
    try:
        return suite.run()
    finally:
        suite.end()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
