"""The planner of questions: its choices, its refusals, and its answers against the reference."""
