"""`python3 -m boundary ABOUT RESULT` in a cage, as its root: tries every door, and says which are OPEN.

ABOUT is JSON from outside: what there is that must not be reached. Nothing here harms a machine it works on.
"""
