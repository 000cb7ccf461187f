"""Telemetry: stats.db and events.db, written and read."""
