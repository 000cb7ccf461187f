"""hivectl: the verbs, and how they print."""
