"""Numbered rows, written in the background, and the proof that none that was acknowledged is lost."""

import hashlib
import threading
import time

import psycopg2

from programs import until


def body(number):
    """The content of a row follows from its number."""
    return hashlib.sha256(str(number).encode()).hexdigest() * (1 + number % 3)


class Ledger:
    """A writer that finds the leader by itself, as an application's connection string would.

    A row whose commit was not answered may be there or not; its number is not used again.
    """

    def __init__(self, nodes):
        self.nodes = nodes
        self.acknowledged = []
        self.failures = 0
        self.error = None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.write, name="ledger", daemon=True)

    def connect(self, nodes, session="read-write"):
        connection = psycopg2.connect(
            host=",".join("127.0.0.1" for _ in nodes),
            port=",".join(str(node.port) for node in nodes),
            user="postgres",
            password=nodes[0].PASSWORD,
            dbname="postgres",
            connect_timeout=30,
            target_session_attrs=session,
        )
        connection.autocommit = True
        return connection

    def start(self):
        with self.connect(self.nodes).cursor() as cursor:
            cursor.execute("CREATE TABLE ledger (number bigint PRIMARY KEY, body text NOT NULL)")
        self.thread.start()

    def write(self):
        number = 0
        connection = None
        while not self.ending.is_set():
            number += 1
            try:
                connection = connection or self.connect(self.nodes)
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO ledger VALUES (%s, %s)", (number, body(number)))
                self.acknowledged.append(number)
                time.sleep(0.002)
            except psycopg2.errors.UniqueViolation as error:
                self.error = error
                return
            except psycopg2.Error:
                self.failures += 1
                connection = None
                time.sleep(0.1)

    def await_more(self, rows):
        """Waits until so many more rows than now are acknowledged."""
        assert self.error is None, f"a row was written twice: {self.error}"
        goal = len(self.acknowledged) + rows
        until(f"{rows} more rows are acknowledged", lambda: len(self.acknowledged) >= goal)

    def stop(self):
        self.ending.set()
        if self.thread.ident is not None:
            self.thread.join()
        assert self.error is None, f"a row was written twice: {self.error}"

    def rows(self, node):
        """All rows of one node, checked one by one: number and content."""
        with self.connect([node], "any") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT number, body FROM ledger ORDER BY number")
            rows = cursor.fetchall()
        for number, text in rows:
            assert text == body(number), f"row {number} of {node.name} is damaged"
        return [number for number, _ in rows]

    def verify(self, node):
        """Every row that was acknowledged before now is on this node."""
        promised = set(self.acknowledged)
        lost = promised.difference(self.rows(node))
        assert not lost, f"{len(lost)} acknowledged rows are not on {node.name}, the first is {min(lost)}"
