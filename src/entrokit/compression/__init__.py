"""Floor 2: low bits. A package a topic."""
