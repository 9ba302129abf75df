"""Two runs side by side: which metric went apart first, and when. `beside` is where it begins."""
