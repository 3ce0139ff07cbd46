"""The designs that ours is measured against, each as short as it can be."""
