"""Points that several ranks measure together: their processes, what each does, and what is sent between them."""
