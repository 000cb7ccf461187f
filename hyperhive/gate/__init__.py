"""hive-gate: the one way out of a cage."""
