"""Events that the plan does not explain -> entries proposed for a target."""
