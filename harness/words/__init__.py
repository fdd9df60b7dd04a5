"""What prose says: sentences, names of metrics, runs, and the claims that records could contradict."""
