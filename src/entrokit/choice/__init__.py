"""Floor 2: how many wishes become one choice: `facility`, `reward_map`."""
