"""hive-rehearsal: a model by rules, for demos and tests."""
