"""M/EEG: RDMs over time, layers over time and their latencies, and a searchlight over sensors."""
