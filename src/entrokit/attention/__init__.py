"""Floor 2: entropy of attention. A file or a package a topic."""
