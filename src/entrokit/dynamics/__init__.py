"""Floor 2: how learning moves what is learnt: `first_order`."""
