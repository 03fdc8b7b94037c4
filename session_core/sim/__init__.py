"""The lab's world: production code on virtual time."""
