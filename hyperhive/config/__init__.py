"""What an agent is: agent.toml, its files in git, and what a change of them grants."""
