"""Floor 2: diffusion and flows. A package a topic."""
