"""hive-apply: what the operator approved becomes files, folders and units."""
