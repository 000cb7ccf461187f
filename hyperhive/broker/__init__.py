"""hive-broker: connections, the wire, wakes and what becomes of a change."""
