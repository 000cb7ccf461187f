"""hive-watch: what became of a unit's run, from D-Bus and the journal."""
