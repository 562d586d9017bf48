"""pawl-mini: the small base model of this repository, its world and its training."""
