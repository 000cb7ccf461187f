"""hive-rules: may an agent run this command. Runs in the cage: standard library only."""
