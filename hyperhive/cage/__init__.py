"""What runs inside an agent's cage: harness, MCP server, relay. Standard library only."""
