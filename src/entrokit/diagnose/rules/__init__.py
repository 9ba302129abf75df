"""Rules, a file a subject: from facts and thresholds to a finding or None. `verdicts` puts them in order."""
