"""What the AWS interfaces say of a cluster, where credentials exist."""
