"""Floor 2: searches by sampling, and zeros found by numbers. A package a topic."""
