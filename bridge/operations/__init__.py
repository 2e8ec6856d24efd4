"""What staff use beside the pipeline: figures, alerts, replay, retention and erasure."""
