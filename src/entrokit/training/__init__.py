"""Floor 7: our own small laboratory: the pocket policy, settings to a run's folder, the recorder."""
