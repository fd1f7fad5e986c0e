"""What trains: input pipeline, policies, networks, losses, the journal of a training."""
