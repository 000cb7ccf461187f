"""hive.db: every table, and what may happen to its rows."""
