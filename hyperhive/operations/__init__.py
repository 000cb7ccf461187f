"""The operations of hyperhive-wire(7), a module for each subject."""
