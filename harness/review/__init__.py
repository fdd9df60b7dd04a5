"""Review: what people read of campaigns, rendered from records, journal and git alone, and never retyped."""
