"""What `benchmarks/diagnosis.py` is made of: the cases, the tools that judge them, and the counts."""
