"""The response surface of a decision for programs: what any mixture would lead to, and what to measure next."""
