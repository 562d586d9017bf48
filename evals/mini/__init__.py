"""The question sets of pawl-mini's world, frozen, with their readers and the checker of answers."""
