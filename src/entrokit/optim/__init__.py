"""Floor 2: optimisers, and how far a step may go. A file or a package a topic."""
