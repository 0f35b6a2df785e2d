"""The one writer's hands: directory descriptors, copies, staging, seeds."""
