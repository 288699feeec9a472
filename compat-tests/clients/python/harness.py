"""Kazoo's own test harness (`kazoo.testing`) on a lent server.

The harness makes a cluster of three genuine servers with certificates for TLS. Here its class for
that cluster is replaced by a lent one with the same methods, of one server or, with MEMBERS=3, of
three; kazoo's tests stay as they are.
"""

import os
import sys
import types

import pytest

from lent import Refused, Server

# kazoo.testing.common imports them to make certificates, which a lone server without TLS does not need.
for name in ("OpenSSL", "jks"):
    sys.modules.setdefault(name, types.ModuleType(name))
# The harness parses the first and asks for the second.
os.environ.setdefault("ZOOKEEPER_VERSION", "3.9.5")
os.environ.setdefault("ZOOKEEPER_CLUSTER_SIZE", os.environ.get("MEMBERS", "1"))

import kazoo.testing.harness  # noqa: E402  the modules above must be there first


class LentServer:
    """In place of ManagedZooKeeper: as much of it as the harness and the tests use."""

    host = "127.0.0.1"

    def __init__(self, cluster, number):
        self._cluster = cluster
        self._number = number
        self.address = None
        self.running = False

    def run(self):
        """Starts it again; returns when it serves, if the others run."""
        if not self.running:
            self.address = self._cluster.loan.start(self._number)
            self.running = True
            if all(server.running for server in self._cluster):
                self._cluster.loan.start()

    def stop(self):
        """Stops it and keeps its data."""
        if self.running:
            try:
                self._cluster.loan.stop(self._number)
            except Refused as why:
                pytest.skip(str(why))
            self.running = False


class LentCluster:
    """In place of ZookeeperCluster."""

    def __init__(self, configuration_entries=(), java_system_properties=(), size=1, **_others):
        self._config = dict(entry.split("=", 1) for entry in configuration_entries)
        for word in java_system_properties:
            key, value = word.removeprefix("-Dzookeeper.").split("=", 1)
            self._config[key] = value
        self._size = size
        self.loan = None
        self._servers = []
        self._lend()

    def _lend(self):
        self.loan = Server(**self._config)
        self._servers = [LentServer(self, number + 1) for number in range(self._size)]

    def __getitem__(self, index):
        return self._servers[index]

    def __iter__(self):
        return iter(self._servers)

    def start(self):
        """Starts those that do not run; returns when all serve."""
        self.loan.start()
        addresses = self.loan.addresses().split(",")
        for server, address in zip(self, addresses, strict=True):
            server.address = address
            server.running = True

    def stop(self):
        for server in self:
            server.stop()

    def terminate(self):
        """Stops all and forgets their data."""
        self.loan.close()
        self._lend()

    reset = terminate

    def get_logs(self):
        return []


kazoo.testing.harness.ZookeeperCluster = LentCluster
