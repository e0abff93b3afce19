"""From a source to the plan: which network fits, and what fills each of its keys."""
