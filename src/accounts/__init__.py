"""People: who they are, how they sign in, and what they did that administrators have to know of."""
