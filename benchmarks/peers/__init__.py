"""The designs that ours is compared with, each as short as possible."""
