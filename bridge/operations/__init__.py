"""What staff see and do beside the pipeline."""
