"""Kazoo's own test harness (`kazoo.testing`) on a lent server.

The harness makes a cluster of three genuine servers with certificates for TLS. Here its class for
that cluster is replaced by one lone server with the same methods; kazoo's tests stay as they are.
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
os.environ.setdefault("ZOOKEEPER_CLUSTER_SIZE", "1")

import kazoo.testing.harness  # noqa: E402  the modules above must be there first


class LentServer:
    """In place of ManagedZooKeeper: as much of it as the harness and the tests use."""

    host = "127.0.0.1"

    def __init__(self, config):
        self._config = config
        self._server = None
        self.address = None
        self.running = False

    def run(self):
        if self.running:
            return
        if self._server is None:
            self._server = Server(**self._config)
        self.address = self._server.start()
        self.running = True

    def stop(self):
        """Stops it and keeps its data."""
        if self.running:
            try:
                self._server.stop()
            except Refused as why:
                pytest.skip(str(why))
            self.running = False

    def destroy(self):
        """Stops it and forgets its data."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.running = False

    reset = destroy


class LentCluster:
    """In place of ZookeeperCluster: a cluster of one."""

    def __init__(self, configuration_entries=(), java_system_properties=(), **_others):
        config = dict(entry.split("=", 1) for entry in configuration_entries)
        for word in java_system_properties:
            key, value = word.removeprefix("-Dzookeeper.").split("=", 1)
            config[key] = value
        self._servers = [LentServer(config)]

    def __getitem__(self, index):
        return self._servers[index]

    def __iter__(self):
        return iter(self._servers)

    def start(self):
        for server in self:
            server.run()

    def stop(self):
        for server in self:
            server.stop()

    def terminate(self):
        for server in self:
            server.destroy()

    reset = terminate

    def get_logs(self):
        return []


kazoo.testing.harness.ZookeeperCluster = LentCluster
