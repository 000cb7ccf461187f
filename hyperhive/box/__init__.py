"""hive-box: a throwaway systemd host on this machine."""
