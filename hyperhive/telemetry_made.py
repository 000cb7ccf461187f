"""Believable telemetry, the same for the same seed: python -m hyperhive.telemetry_made FILE. See hyperhive-stats.db(5)."""
