"""A server lent by the harness (`compat lend`): one connection to $SERVERS is one server."""

import os
import socket


class Refused(Exception):
    """The harness says no, and why."""


class Server:
    """A server of one's own, gone with `close`.

    `start` returns HOST:PORT when the server serves. `kill` is `kill -9`; a `start` after `stop` or
    `kill` finds the same port and data. `proxy` returns HOST:PORT of a way to the server that `cut`
    closes and `mend` opens again.

    With MEMBERS=3 it is an ensemble of three: `start` returns when all serve, with the address of the
    first. A number, from 1, names one of them; it is started without waiting.
    """

    def __init__(self, **config):
        host, port = os.environ["SERVERS"].rsplit(":", 1)
        self._stream = socket.create_connection((host, int(port)))
        self._lines = self._stream.makefile("r", encoding="utf-8")
        for key, value in config.items():
            self.config(key, value)

    def _ask(self, line):
        self._stream.sendall((line + "\n").encode())
        verdict, _, words = self._lines.readline().rstrip("\n").partition(" ")
        if verdict != "ok":
            raise Refused(words or "the harness is gone")
        return words

    def kind(self):
        """`oxkeeper`, `zookeeper` or `external`."""
        return self._ask("kind")

    def config(self, key, value):
        """A line of zoo.cfg for the next start."""
        self._ask(f"config {key} {value}")

    def members(self):
        """How many servers make this one."""
        return int(self._ask("members"))

    def addresses(self):
        """Those of all, with commas between them."""
        return self._ask("addresses")

    def leader(self):
        """The number of the one that leads."""
        return int(self._ask("leader"))

    def start(self, number=""):
        return self._ask(f"start {number}".rstrip())

    def stop(self, number=""):
        self._ask(f"stop {number}".rstrip())

    def kill(self, number=""):
        self._ask(f"kill {number}".rstrip())

    def proxy(self):
        return self._ask("proxy")

    def cut(self):
        self._ask("cut")

    def mend(self):
        self._ask("mend")

    def close(self):
        self._lines.close()
        self._stream.close()
