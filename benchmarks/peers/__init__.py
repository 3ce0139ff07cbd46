"""What we are measured against, each as small as it can be said."""
