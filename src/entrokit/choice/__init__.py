"""Floor 2: how rewards become choices: `reward_map`."""
