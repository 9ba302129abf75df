"""Floor 2: moving bodies and flows: active matter, schools, chaos. A package a topic."""
