"""The REST API under `/api/v1/`: what scripts may do, with the same rights as a person in the admin."""
