"""Floor 2: how learning moves what is learnt. A file or a package a topic."""
