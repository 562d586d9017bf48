"""The demonstration: people of a made-up organisation correct inventions, and a night learns."""
