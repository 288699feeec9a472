"""The processes of the suite: the server under test and two nodes of Patroni, each with a directory of its own.

PostgreSQL refuses to run as root. As root, the nodes therefore run as the user `postgres`, from a copy of Patroni that
this user can read; otherwise as whoever runs the suite.
"""

import glob
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request

# The harness's loans are asked for as kazoo's suite does.
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import lent  # noqa: E402  the path above must be there first

PATIENCE_S = 300
START_S = 120
STOP_S = 180
LOWEST_PORT = 12000


def until(what, condition):
    """Waits for what no event announces, and returns it. Exceptions of the condition end the wait."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.1)


def free_port():
    """A port that nobody listens on, from below the range that the system gives to outgoing connections.

    What stops and starts again on its port must find it free, however often others try to connect meanwhile.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        end = max(LOWEST_PORT + 1000, int(file.read().split()[0]))
    while True:
        port = random.randrange(LOWEST_PORT, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def tail(path, lines=40):
    try:
        with open(path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError as error:
        return f"no log: {error}\n"


class Keeper:
    """The server under test, by the environment's SERVER: zookeeper, oxkeeper or HOST:PORT.

    With SERVERS it is what the harness lends (`compat lend`), with MEMBERS=3 an ensemble. `kill` then
    means its leader.
    """

    def __init__(self, directory):
        self.kind = os.environ.get("SERVER", "zookeeper")
        self.loan = lent.Server() if "SERVERS" in os.environ else None
        self.external = self.loan is None and ":" in self.kind
        self.process = None
        self.log = os.path.join(directory, "log")
        self.hosts = self.kind
        if self.loan is not None or self.external:
            return
        os.mkdir(directory)
        self.config = os.path.join(directory, "zoo.cfg")
        port = free_port()
        self.hosts = f"127.0.0.1:{port}"
        with open(self.config, "w") as file:
            file.write(
                f"clientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
                f"dataDir={os.path.join(directory, 'data')}\n"
            )

    def start(self):
        """Starts what does not run, the second time on the same port and data; returns when all serve."""
        if self.loan is not None:
            self.loan.start()
            self.hosts = self.loan.addresses()
            return
        if not self.external:
            if self.kind == "oxkeeper":
                command = [os.environ["OXKEEPER_BIN"]]
            else:
                words = "-Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC".split()
                command = ["java", *words, "-cp", os.environ["ZOOKEEPER_CLASS_PATH"]]
                command.append("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            with open(self.log, "a") as log:
                self.process = subprocess.Popen([*command, self.config], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while "Mode:" not in self.word("srvr"):
            ended = self.process is not None and self.process.poll() is not None
            assert not ended and time.monotonic() < deadline, "the server does not serve"
            time.sleep(0.05)

    def word(self, word):
        host, port = self.hosts.split(",")[0].split(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(word.encode())
                return connection.makefile("rb").read().decode()
        except OSError:
            return ""

    def kill(self):
        """SIGKILL to the one that leads, if it runs."""
        if self.loan is not None:
            self.loan.kill(self.loan.leader())
        elif self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self):
        """No part of it runs on."""
        if self.loan is not None:
            self.loan.close()
        else:
            self.kill()


class Node:
    """One PostgreSQL server under one Patroni."""

    PASSWORD = "compat"

    def __init__(self, directory, name, scope, keeper, code):
        self.name = name
        self.directory = directory
        self.log = os.path.join(directory, "log")
        self.data = os.path.join(directory, "data")
        self.config = os.path.join(directory, "patroni.yml")
        self.port = free_port()
        self.rest_port = free_port()
        self.code = code
        self.process = None
        os.mkdir(directory, 0o700)
        with open(self.config, "w") as file:
            # JSON is YAML.
            json.dump(self.settings(scope, keeper), file, indent=2)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(directory, user.pw_uid, user.pw_gid)
            os.chown(self.config, user.pw_uid, user.pw_gid)

    def settings(self, scope, keeper):
        def login(name):
            return {"username": name, "password": self.PASSWORD}

        dynamic = {
            "ttl": 20,
            "loop_wait": 2,
            "retry_timeout": 8,
            # What is acknowledged is on the other node too.
            "synchronous_mode": True,
            # While the server is away, a leader goes on that reaches all other nodes.
            "failsafe_mode": True,
            "postgresql": {
                "use_pg_rewind": True,
                "parameters": {"max_connections": 20, "shared_buffers": "16MB", "max_wal_size": "128MB"},
            },
        }
        return {
            "scope": scope,
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.rest_port}", "connect_address": f"127.0.0.1:{self.rest_port}"},
            "zookeeper": {"hosts": keeper.hosts.split(",")},
            "bootstrap": {
                "dcs": dynamic,
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
                "pg_hba": ["host replication all 127.0.0.1/32 md5", "host all all 127.0.0.1/32 md5"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": self.data,
                "bin_dir": sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1],
                "pgpass": os.path.join(self.directory, "pgpass"),
                "authentication": {
                    "superuser": login("postgres"),
                    "replication": login("replicator"),
                    "rewind": login("rewinder"),
                },
                "parameters": {"unix_socket_directories": self.directory},
            },
        }

    def start(self):
        """Starts Patroni, which starts PostgreSQL; does not wait until it serves."""
        command = ["/usr/bin/python3", "-m", "patroni", self.config]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--", *command]
        # Nobody's locale and nobody's home.
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": self.code, "HOME": self.directory, "LC_ALL": "C.UTF-8"}
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(command, cwd=self.directory, env=environment, stdout=log, stderr=log)

    def stop(self):
        """SIGTERM: it gives the leadership away, stops PostgreSQL, closes its session and ends."""
        self.process.terminate()
        self.process.wait(STOP_S)

    def kill(self):
        """SIGKILL to Patroni and to PostgreSQL, as when the machine goes; its session is left to expire."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        try:
            with open(os.path.join(self.data, "postmaster.pid")) as file:
                postmaster = int(file.readline())
        except OSError:
            return
        try:
            with open(f"/proc/{postmaster}/cmdline") as file:
                # A number of a process that ended before may be somebody else's by now.
                if self.data in file.read():
                    os.kill(postmaster, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            return

    def state(self):
        """What its REST API says of it; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}/patroni", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except OSError:
            return {}

    def leads(self):
        state = self.state()
        return state.get("role") in ("primary", "master") and state.get("state") == "running"


def readable_copy(directory):
    """Patroni with what it needs, where the user `postgres` can read it; its path."""
    site = sysconfig.get_path("purelib")
    if os.geteuid() != 0:
        return site
    target = os.path.join(directory, "code")
    shutil.copytree(site, target, ignore=shutil.ignore_patterns("pip", "setuptools", "__pycache__"))
    return target


def control(node, *words):
    """Runs patronictl to its good end; what it printed."""
    command = [os.path.join(os.path.dirname(sys.executable), "patronictl"), "-c", node.config, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, f"{' '.join(words)} failed: {done.stdout}{done.stderr}"
    return done.stdout
