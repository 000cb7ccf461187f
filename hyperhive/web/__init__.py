"""hive-web: the operator's page and the HTTP interface."""
