"""What can be wrong: each module finds problems of one subject, in few queries, each by an index."""
